"""What the control plane does to the registry: runtimes, versions and endpoints made, changed and removed.

A mutation is kept at once and settles in the background; until it has settled nothing that was live stops being live.
"""

import hashlib
from typing import Final

from ops.devstack.runtime.arn import Place, new_id
from ops.devstack.runtime.artifact import CodeRoot
from ops.devstack.runtime.errors import InvalidRequestError, NameTakenError, QuotaExceededError, RuntimeApiError
from ops.devstack.runtime.limits import Limits
from ops.devstack.runtime.owned import OwnedTasks
from ops.devstack.runtime.registry import DEFAULT, Endpoint, Registry, Remembered, Runtime, Version
from ops.devstack.runtime.spec import CreateEndpoint, CreateRuntime, RuntimeSpec, UpdateEndpoint, UpdateRuntime
from ops.devstack.runtime.supervisor import Supervisor
from ops.devstack.runtime.zygotes import Zygotes
from tenancy.clock import Clock

_IN_FLUX: Final = frozenset({"CREATING", "UPDATING", "DELETING"})
Wish = CreateRuntime | UpdateRuntime | CreateEndpoint | UpdateEndpoint


class Catalogue:
    """Changes the registry; owns the work that settles a change."""

    def __init__(
        self,
        *,
        registry: Registry,
        code_root: CodeRoot,
        zygotes: Zygotes,
        supervisor: Supervisor,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._code_root = code_root
        self._zygotes = zygotes
        self._supervisor = supervisor
        self._limits = limits
        self._clock = clock
        self._settling = OwnedTasks()

    def resume(self) -> None:
        """Settle what an earlier process left unsettled, and warm the interpreters of all runtimes."""
        for runtime in self._registry.runtimes():
            if runtime.status == "DELETING":
                self._settling.spawn(self._delete(runtime))
            else:
                self._settling.spawn(self._settle(runtime, runtime.newest))

    async def settled(self) -> None:
        """Return once every change so far has its final status."""
        await self._settling.joined()

    async def aclose(self) -> None:
        """Give up what has not settled."""
        await self._settling.aclose()

    def create(self, place: Place, wish: CreateRuntime) -> Runtime:
        """Make a runtime with version 1 and a DEFAULT endpoint; raises RuntimeApiError."""
        if (used := self._replay(wish, None)) is not None:
            return self._registry.get(used.runtime_id, place)
        taken = list(self._registry.runtimes(place))
        if any(runtime.name == wish.agent_runtime_name for runtime in taken):
            raise NameTakenError(f"An agent with the name '{wish.agent_runtime_name}' already exists in your account.")
        if len(taken) >= self._limits.runtimes:
            raise QuotaExceededError("Maximum number of agent runtimes reached")
        version = self._version(1, wish)
        now = version.created_at
        runtime = Runtime(
            id=new_id(wish.agent_runtime_name),
            name=wish.agent_runtime_name,
            account=place.account,
            region=place.region,
            status="CREATING",
            created_at=now,
            updated_at=now,
            versions={1: version},
            endpoints={DEFAULT: self._endpoint(DEFAULT, 1)},
        )
        self._registry.add(runtime)
        self._keep(wish, Remembered(digest=_digest(wish), runtime_id=runtime.id, version=1))
        self._settling.spawn(self._settle(runtime, version))
        return runtime

    def update(self, runtime: Runtime, wish: UpdateRuntime) -> Version:
        """Make the runtime's next version and move DEFAULT to it; raises RuntimeApiError."""
        if (used := self._replay(wish, runtime)) is not None:
            return runtime.version(used.version)
        _must_be_settled(runtime.status)
        version = self._version(runtime.newest.number + 1, wish)
        runtime.versions[version.number] = version
        runtime.status = "UPDATING"
        runtime.updated_at = version.created_at
        self._aim(runtime.endpoints[DEFAULT], version.number)
        self._keep(wish, Remembered(digest=_digest(wish), runtime_id=runtime.id, version=version.number))
        self._settling.spawn(self._settle(runtime, version))
        return version

    def delete(self, runtime: Runtime) -> None:
        """Remove a runtime with everything of it; its sessions end."""
        runtime.status = "DELETING"
        self._registry.save()
        self._settling.spawn(self._delete(runtime))

    def create_endpoint(self, runtime: Runtime, wish: CreateEndpoint) -> Endpoint:
        """Make an endpoint that stays at one version; raises RuntimeApiError."""
        if (used := self._replay(wish, runtime)) is not None and used.endpoint is not None:
            return runtime.endpoint(used.endpoint)
        if wish.name in runtime.endpoints:
            raise NameTakenError(f"An endpoint with the name '{wish.name}' already exists.")
        if len(runtime.endpoints) >= self._limits.endpoints:
            raise QuotaExceededError("Maximum number of endpoints reached")
        version = runtime.version(int(wish.agent_runtime_version)) if wish.agent_runtime_version else runtime.newest
        endpoint = self._endpoint(wish.name, version.number, wish.description)
        runtime.endpoints[wish.name] = endpoint
        used = Remembered(digest=_digest(wish), runtime_id=runtime.id, endpoint=wish.name, version=version.number)
        self._keep(wish, used)
        self._settling.spawn(self._settle(runtime, version))
        return endpoint

    def update_endpoint(self, runtime: Runtime, name: str, wish: UpdateEndpoint) -> Endpoint:
        """Aim an endpoint at another version; raises RuntimeApiError."""
        endpoint = runtime.endpoint(name)
        if self._replay(wish, runtime) is not None:
            return endpoint
        _must_be_settled(endpoint.status)
        version = runtime.version(int(wish.agent_runtime_version)) if wish.agent_runtime_version else runtime.newest
        endpoint.description = wish.description or endpoint.description
        self._aim(endpoint, version.number)
        used = Remembered(digest=_digest(wish), runtime_id=runtime.id, endpoint=name, version=version.number)
        self._keep(wish, used)
        self._settling.spawn(self._settle(runtime, version))
        return endpoint

    def delete_endpoint(self, runtime: Runtime, name: str) -> None:
        """Remove an endpoint; sessions that came through it live on. DEFAULT goes only with its runtime."""
        runtime.endpoint(name)
        if name == DEFAULT:
            raise NameTakenError("The DEFAULT endpoint is deleted with its agent runtime")
        del runtime.endpoints[name]
        self._registry.save()

    async def _settle(self, runtime: Runtime, version: Version) -> None:
        """Bring the version's interpreter up, then let the endpoints that wait for it have it."""
        waiting = [end for end in runtime.endpoints.values() if end.target == version.number and end.live != end.target]
        failure = None
        try:
            code = self._code_root.locate(version.spec.agent_runtime_artifact)
            await self._zygotes.get(code.python)
        except RuntimeApiError as error:
            failure = error.message
        for endpoint in waiting:
            _conclude(endpoint, failure)
            endpoint.live = endpoint.target if failure is None else endpoint.live
        if runtime.status != "DELETING" and version is runtime.newest:
            _conclude(runtime, failure)
        self._registry.save()

    async def _delete(self, runtime: Runtime) -> None:
        await self._supervisor.stop_all_of(runtime.id)
        self._registry.remove(runtime.id)
        self._registry.save()

    def _version(self, number: int, wish: CreateRuntime | UpdateRuntime) -> Version:
        own = wish.model_dump(by_alias=True, exclude_none=True, exclude={"agent_runtime_name", "client_token", "tags"})
        spec = RuntimeSpec.model_validate(own)
        self._code_root.locate(spec.agent_runtime_artifact)
        return Version(number=number, spec=spec, created_at=self._clock.now())

    def _endpoint(self, name: str, target: int, description: str | None = None) -> Endpoint:
        now = self._clock.now()
        return Endpoint(
            name=name,
            id=new_id(name),
            live=None,
            target=target,
            status="CREATING",
            created_at=now,
            updated_at=now,
            description=description,
        )

    def _aim(self, endpoint: Endpoint, version: int) -> None:
        endpoint.target = version
        endpoint.status = "UPDATING"
        endpoint.updated_at = self._clock.now()

    def _replay(self, wish: Wish, runtime: Runtime | None) -> Remembered | None:
        """Return what the same call did before; raises InvalidRequestError for another call with its token."""
        used = self._registry.remembered(wish.client_token) if wish.client_token else None
        if used is None:
            return None
        if used.digest != _digest(wish) or (runtime is not None and used.runtime_id != runtime.id):
            reason = "IdempotentParameterMismatchException"
            raise InvalidRequestError("The client token was used with other parameters", reason=reason)
        return used

    def _keep(self, wish: Wish, used: Remembered) -> None:
        if wish.client_token:
            self._registry.remember(wish.client_token, used)
        self._registry.save()


def _must_be_settled(status: str) -> None:
    if status in _IN_FLUX:
        raise NameTakenError(f"The resource is in status {status}; try again when it has settled")


def _conclude(changed: Runtime | Endpoint, failure: str | None) -> None:
    """Give what was changed its final status."""
    changed.failure = failure
    if failure is None:
        changed.status = "READY"
    else:
        changed.status = "CREATE_FAILED" if changed.status == "CREATING" else "UPDATE_FAILED"


def _digest(wish: Wish) -> str:
    return hashlib.sha256(wish.model_dump_json(by_alias=True, exclude={"client_token"}).encode()).hexdigest()
