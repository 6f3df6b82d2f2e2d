"""The control plane's routes: agent runtimes, their versions and endpoints, as boto3's control client speaks them."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ops.devstack.runtime import views
from ops.devstack.runtime.answers import aws_errors, identify, json_answer
from ops.devstack.runtime.arn import Place
from ops.devstack.runtime.callers import Callers
from ops.devstack.runtime.catalogue import Catalogue
from ops.devstack.runtime.errors import InvalidRequestError
from ops.devstack.runtime.registry import Registry, Runtime
from ops.devstack.runtime.spec import CreateEndpoint, CreateRuntime, UpdateEndpoint, UpdateRuntime

_ACCEPTED = 202
M = TypeVar("M", bound=BaseModel)


class ControlPlane:
    """The control plane's routes."""

    def __init__(self, *, registry: Registry, catalogue: Catalogue, callers: Callers) -> None:
        self._registry = registry
        self._catalogue = catalogue
        self._callers = callers

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[aws_errors])
        app.on_response_prepare.append(identify)
        runtime, endpoints = "/runtimes/{id}/", "/runtimes/{id}/runtime-endpoints/"
        routes = [
            web.put("/runtimes/", self.create),
            web.post("/runtimes/", self.list_runtimes),
            web.get(runtime, self.get),
            web.put(runtime, self.update),
            web.delete(runtime, self.delete),
            web.post(runtime + "versions/", self.list_versions),
            web.put(endpoints, self.create_endpoint),
            web.post(endpoints, self.list_endpoints),
            web.get(endpoints + "{name}/", self.get_endpoint),
            web.put(endpoints + "{name}/", self.update_endpoint),
            web.delete(endpoints + "{name}/", self.delete_endpoint),
        ]
        app.add_routes(routes)
        return app

    async def create(self, request: web.Request) -> web.Response:
        """CreateAgentRuntime."""
        place, body = await self._read(request)
        runtime = self._catalogue.create(place, _parse(CreateRuntime, body))
        return json_answer(views.runtime_change(runtime, runtime.newest), _ACCEPTED)

    async def get(self, request: web.Request) -> web.Response:
        """GetAgentRuntime, of the newest version or the one asked for."""
        runtime = await self._runtime(request)
        asked = request.query.get("version")
        version = runtime.newest if asked is None else runtime.version(int(asked) if asked.isdecimal() else 0)
        return json_answer(views.runtime_detail(runtime, version))

    async def update(self, request: web.Request) -> web.Response:
        """UpdateAgentRuntime."""
        place, body = await self._read(request)
        runtime = self._registry.get(request.match_info["id"], place)
        version = self._catalogue.update(runtime, _parse(UpdateRuntime, body))
        return json_answer(views.runtime_change(runtime, version), _ACCEPTED)

    async def delete(self, request: web.Request) -> web.Response:
        """DeleteAgentRuntime."""
        runtime = await self._runtime(request)
        self._catalogue.delete(runtime)
        return json_answer({"agentRuntimeId": runtime.id, "status": runtime.status}, _ACCEPTED)

    async def list_runtimes(self, request: web.Request) -> web.Response:
        """ListAgentRuntimes of the caller's account and region, by name."""
        place, _ = await self._read(request)
        rows = [(one.name, views.runtime_summary(one, one.newest)) for one in self._registry.runtimes(place)]
        return _page(request, "agentRuntimes", rows)

    async def list_versions(self, request: web.Request) -> web.Response:
        """ListAgentRuntimeVersions, oldest first."""
        runtime = await self._runtime(request)
        rows = [
            (f"{number:05d}", views.runtime_summary(runtime, version)) for number, version in runtime.versions.items()
        ]
        return _page(request, "agentRuntimes", rows)

    async def create_endpoint(self, request: web.Request) -> web.Response:
        """CreateAgentRuntimeEndpoint."""
        place, body = await self._read(request)
        runtime = self._registry.get(request.match_info["id"], place)
        endpoint = self._catalogue.create_endpoint(runtime, _parse(CreateEndpoint, body))
        return json_answer(views.endpoint_change(runtime, endpoint), _ACCEPTED)

    async def get_endpoint(self, request: web.Request) -> web.Response:
        """GetAgentRuntimeEndpoint."""
        runtime = await self._runtime(request)
        return json_answer(views.endpoint_detail(runtime, runtime.endpoint(request.match_info["name"])))

    async def update_endpoint(self, request: web.Request) -> web.Response:
        """UpdateAgentRuntimeEndpoint."""
        place, body = await self._read(request)
        runtime = self._registry.get(request.match_info["id"], place)
        wish = _parse(UpdateEndpoint, body)
        endpoint = self._catalogue.update_endpoint(runtime, request.match_info["name"], wish)
        return json_answer(views.endpoint_change(runtime, endpoint), _ACCEPTED)

    async def delete_endpoint(self, request: web.Request) -> web.Response:
        """DeleteAgentRuntimeEndpoint."""
        runtime = await self._runtime(request)
        name = request.match_info["name"]
        self._catalogue.delete_endpoint(runtime, name)
        gone = {"agentRuntimeId": runtime.id, "endpointName": name, "status": "DELETING"}
        return json_answer(gone, _ACCEPTED)

    async def list_endpoints(self, request: web.Request) -> web.Response:
        """ListAgentRuntimeEndpoints, by name."""
        runtime = await self._runtime(request)
        rows = [(name, views.endpoint_detail(runtime, one)) for name, one in sorted(runtime.endpoints.items())]
        return _page(request, "runtimeEndpoints", rows)

    async def _read(self, request: web.Request) -> tuple[Place, bytes]:
        body = await request.read()
        return self._callers.recognise(request, body).place, body

    async def _runtime(self, request: web.Request) -> Runtime:
        place, _ = await self._read(request)
        return self._registry.get(request.match_info["id"], place)


class _Window(BaseModel):
    model_config = ConfigDict(extra="ignore")

    size: int = Field(100, ge=1, le=100, alias="maxResults")
    after: str = Field("", max_length=2048, alias="nextToken")


def _page(request: web.Request, name: str, rows: Sequence[tuple[str, views.View]]) -> web.Response:
    """Return one page of rows, each with its sort key; the token is the last key of the page before."""
    window = _validated(_Window, request.query)
    try:
        after = base64.urlsafe_b64decode(window.after).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidRequestError("nextToken is not one of this list") from error
    left = [row for row in rows if row[0] > after]
    shown = left[: window.size]
    answer: dict[str, object] = {name: [view for _, view in shown]}
    if len(left) > len(shown):
        answer["nextToken"] = base64.urlsafe_b64encode(shown[-1][0].encode()).decode()
    return json_answer(answer)


def _parse(model: type[M], body: bytes) -> M:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from error


def _validated(model: type[M], fields: Mapping[str, str]) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise _invalid(error) from error


def _invalid(error: ValidationError) -> InvalidRequestError:
    """Return AWS's way of saying what pydantic found."""
    if any(found["type"] == "json_invalid" for found in error.errors()):
        return InvalidRequestError("The request body is not valid JSON", reason="CannotParse")
    fields = [(".".join(map(str, found["loc"])) or "body", found["msg"]) for found in error.errors()]
    listed = "; ".join(f"Value at '{name}' failed to satisfy constraint: {message}" for name, message in fields)
    plural = "errors" if len(fields) > 1 else "error"
    return InvalidRequestError(f"{len(fields)} validation {plural} detected: {listed}", fields=fields)
