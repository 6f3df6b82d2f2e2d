from collections.abc import AsyncIterator

import orjson
import pytest
from multidict import CIMultiDict

from gateway import identity as module
from gateway.errors import (
    DirectoryUnboundError,
    ForbiddenError,
    IdentityUnavailableError,
    RoleMissingError,
    TenantMismatchError,
    TokenBadSignatureError,
    TokenExpiredError,
    TokenMalformedError,
    TokenNotYetValidError,
    TokenUnknownKeyError,
    TokenWrongIssuerError,
)
from gateway.identity import authorization_of, check_tenant_header, require_role
from gateway.tokens import MICROSOFT, TokenRules, read_claims
from tenancy.context import Principal, Role
from tenancy.ids import TenantId
from tests.clock import FakeClock
from tests.gateway.identity_fixtures import Identity, running_identity
from tests.gateway.signing import AUDIENCE, CLIENT, DIRECTORY, OBJECT, OTHER_DIRECTORY, Forge, encoded


@pytest.fixture
async def identity(clock: FakeClock) -> AsyncIterator[Identity]:
    async with running_identity(clock) as running:
        yield running


async def test_a_good_token_is_its_binding_s_tenant_and_its_own_subject(identity: Identity) -> None:
    principal = await identity.authenticate(identity.forge.token())
    assert principal == Principal(OBJECT, CLIENT, frozenset({Role.AGENT_INVOKE}), TenantId("acme"))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_is_read_in_any_case(identity: Identity, scheme: str) -> None:
    assert (await identity.authenticator.authenticate(f"{scheme} {identity.forge.token()}")).tenant_id == "acme"


@pytest.mark.parametrize(
    "header", [{"typ": "at+jwt"}, {"typ": "AT+JWT"}, {"typ": "jwt"}, {"x5t": "abc"}, {"x5t#S256": "abc"}]
)
async def test_what_entra_writes_into_headers_is_taken(identity: Identity, header: dict[str, object]) -> None:
    assert (await identity.authenticate(identity.forge.token(header))).tenant_id == "acme"


async def test_an_audience_list_of_exactly_this_one_is_taken(identity: Identity) -> None:
    assert (await identity.authenticate(identity.forge.token(aud=[AUDIENCE]))).tenant_id == "acme"


async def test_clocks_may_differ_by_a_minute(identity: Identity) -> None:
    now_s = identity.forge.now_s
    assert (await identity.authenticate(identity.forge.token(nbf=now_s + 60, iat=now_s + 60))).tenant_id == "acme"


async def test_a_token_may_be_valid_for_a_day_and_without_iat_and_nbf(identity: Identity) -> None:
    token = identity.forge.token(exp=identity.forge.now_s + 86400, iat=None, nbf=None)
    assert (await identity.authenticate(token)).tenant_id == "acme"


async def test_without_oid_the_subject_is_sub_and_never_a_name(identity: Identity) -> None:
    token = identity.forge.token(oid=None, email="root@acme.example", preferred_username="root")
    assert (await identity.authenticate(token)).subject == "pairwise-subject"


async def test_no_claim_and_no_name_chooses_the_tenant(identity: Identity) -> None:
    token = identity.forge.token(tenant="globex", tenant_id="globex", tenantId="globex", email="x@globex.example")
    assert (await identity.authenticate(token)).tenant_id == "acme"


async def test_unknown_roles_and_scopes_give_nothing(identity: Identity) -> None:
    token = identity.forge.token(roles=["Agent.Invoke", "agent.invoke", "Root"], scp="Agent.Developer Platform.Admin")
    assert (await identity.authenticate(token)).roles == {Role.AGENT_INVOKE}
    assert (await identity.authenticate(identity.forge.token(roles=None))).roles == frozenset()


async def test_platform_roles_count_only_for_the_platform_s_own_directory(identity: Identity) -> None:
    token = identity.forge.token(roles=[role.value for role in Role])
    assert (await identity.authenticate(token)).roles == {Role.AGENT_INVOKE, Role.AGENT_DEVELOPER}
    identity.bind(None)
    await identity.clock.advance(module.BINDING_STALE_S)
    principal = await identity.authenticate(token)
    assert (principal.tenant_id, principal.roles) == (None, frozenset(Role))


async def test_the_token_of_an_unbound_directory_is_forbidden(identity: Identity) -> None:
    issuer = f"{identity.authority.url}/{OTHER_DIRECTORY}/v2.0"
    with pytest.raises(DirectoryUnboundError):
        await identity.authenticate(identity.forge.token(tid=OTHER_DIRECTORY, iss=issuer))


async def test_another_application_of_a_bound_directory_is_forbidden(identity: Identity) -> None:
    with pytest.raises(DirectoryUnboundError):
        await identity.authenticate(identity.forge.token(azp="aaaaaaaa-0000-4000-8000-00000000beef"))


async def test_two_directories_are_two_tenants(identity: Identity) -> None:
    identity.bind("globex", directory=OTHER_DIRECTORY)
    issuer = f"{identity.authority.url}/{OTHER_DIRECTORY}/v2.0"
    theirs = identity.forge.token(tid=OTHER_DIRECTORY, iss=issuer)
    for _ in range(2):
        assert (await identity.authenticate(theirs)).tenant_id == "globex"
        assert (await identity.authenticate(identity.forge.token())).tenant_id == "acme"


async def test_a_key_published_for_one_directory_does_not_sign_for_another(identity: Identity) -> None:
    identity.authority.key_members["issuer"] = f"{identity.authority.url}/{OTHER_DIRECTORY}/v2.0"
    with pytest.raises(TokenWrongIssuerError):
        await identity.authenticate(identity.forge.token())


async def test_a_key_published_for_every_directory_signs_for_each(identity: Identity) -> None:
    identity.authority.key_members["issuer"] = f"{identity.authority.url}/{{tenantid}}/v2.0"
    assert (await identity.authenticate(identity.forge.token())).tenant_id == "acme"


async def test_a_warm_token_reads_nothing(identity: Identity) -> None:
    token = identity.forge.token()
    first = await identity.authenticate(token)
    reads = identity.authority.reads, identity.bindings.reads
    assert all([await identity.authenticate(token) is first for _ in range(100)])
    assert (identity.authority.reads, identity.bindings.reads) == reads


async def test_a_warm_token_expires_on_time(identity: Identity) -> None:
    token = identity.forge.token(exp=identity.forge.now_s + 100)
    await identity.authenticate(token)
    await identity.clock.advance(99)
    await identity.authenticate(token)
    await identity.clock.advance(1)
    with pytest.raises(TokenExpiredError):
        await identity.authenticate(token)


async def test_an_accepted_token_is_verified_again_after_five_minutes(identity: Identity) -> None:
    token = identity.forge.token(exp=identity.forge.now_s + 80_000)
    await identity.authenticate(token)
    # The authority withdraws the key; its copy is renewed by a token that names an unknown one.
    identity.authority.kids = ["key-2"]
    with pytest.raises(TokenUnknownKeyError):
        await identity.authenticate(identity.forge.token({"kid": "key-3"}))
    assert (await identity.authenticate(token)).tenant_id == "acme"
    await identity.clock.advance(module.ACCEPTED_S)
    with pytest.raises(TokenUnknownKeyError):
        await identity.authenticate(token)


async def test_unbinding_ends_a_warm_token_by_word_of_it_or_by_age(identity: Identity) -> None:
    token = identity.forge.token()
    await identity.authenticate(token)
    identity.unbind()
    identity.changes._tell(orjson.dumps({"kind": module.BINDING_KIND, "key": DIRECTORY}))
    with pytest.raises(DirectoryUnboundError):
        await identity.authenticate(token)
    identity.bind("acme")
    await identity.clock.advance(2)
    await identity.authenticate(token)
    identity.unbind()
    await identity.clock.advance(module.BINDING_STALE_S)
    with pytest.raises(DirectoryUnboundError):
        await identity.authenticate(token)


async def test_a_warm_token_follows_its_binding_to_another_tenant(identity: Identity) -> None:
    token = identity.forge.token()
    assert (await identity.authenticate(token)).tenant_id == "acme"
    identity.bind("globex")
    identity.changes._take({"type": "subscribe"})
    assert (await identity.authenticate(token)).tenant_id == "globex"


async def test_a_flood_of_bad_tokens_leaves_the_accepted_ones_and_its_own_memory_alone(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCEPTED", 2)
    monkeypatch.setattr(module, "REFUSED", 3)
    token = identity.forge.token()
    first = await identity.authenticate(token)
    signing_input = token.rpartition(".")[0]
    for number in range(20):
        with pytest.raises(TokenBadSignatureError):
            await identity.authenticate(f"{signing_input}.{encoded(bytes([number] * 256))}")
        with pytest.raises(DirectoryUnboundError):
            await identity.authenticate(identity.forge.token(azp=f"client-{number}"))
    assert await identity.authenticate(token) is first
    assert len(identity.authenticator._refused) == 3
    for number in range(5):
        await identity.authenticate(identity.forge.token(uti=str(number)))
    assert len(identity.authenticator._accepted) == 2


async def test_a_refusal_is_remembered_only_briefly(identity: Identity) -> None:
    token = identity.forge.token()
    identity.authority.kids = []
    identity.authority.extra_keys = [{**identity.authority.public("key-2"), "kid": "key-1"}]
    with pytest.raises(TokenBadSignatureError):
        await identity.authenticate(token)
    identity.authority.kids, identity.authority.extra_keys = ["key-1"], []
    with pytest.raises(TokenUnknownKeyError):
        await identity.authenticate(identity.forge.token({"kid": "key-3"}))
    with pytest.raises(TokenBadSignatureError):
        await identity.authenticate(token)
    await identity.clock.advance(module.REFUSED_S)
    assert (await identity.authenticate(token)).tenant_id == "acme"


async def test_a_token_not_valid_yet_becomes_valid_on_time(identity: Identity) -> None:
    token = identity.forge.token(nbf=identity.forge.now_s + 61)
    with pytest.raises(TokenNotYetValidError):
        await identity.authenticate(token)
    await identity.clock.advance(1)
    assert (await identity.authenticate(token)).tenant_id == "acme"


async def test_without_any_keys_nobody_is_refused_but_told_to_come_back(identity: Identity) -> None:
    identity.authority.status = 500
    with pytest.raises(IdentityUnavailableError):
        await identity.authenticate(identity.forge.token())


@pytest.mark.parametrize(
    "claims", [{"iss": f"https://sts.windows.net/{DIRECTORY}/", "ver": "1.0", "azp": None, "appid": CLIENT}, {}]
)
def test_microsoft_s_authority_issues_both_versions(clock: FakeClock, claims: dict[str, object]) -> None:
    forge = Forge(MICROSOFT, clock.now())
    payload = encoded(orjson.dumps(forge.claims(**claims)))
    read = read_claims(payload, TokenRules(MICROSOFT, AUDIENCE), clock.now().timestamp())
    assert (read.directory, read.client_id, read.subject) == (DIRECTORY, CLIENT, OBJECT)


@pytest.mark.parametrize("issuer", [f"https://sts.windows.net/{DIRECTORY}", f"{MICROSOFT}/{DIRECTORY}/v2.0"])
def test_version_one_has_an_issuer_of_its_own(clock: FakeClock, issuer: str) -> None:
    claims = Forge(MICROSOFT, clock.now()).claims(ver="1.0", appid=CLIENT, iss=issuer)
    with pytest.raises(TokenWrongIssuerError):
        read_claims(encoded(orjson.dumps(claims)), TokenRules(MICROSOFT, AUDIENCE), clock.now().timestamp())


def test_several_authorization_headers_are_refused() -> None:
    assert authorization_of(CIMultiDict()) is None
    assert authorization_of(CIMultiDict({"authorization": "Bearer a"})) == "Bearer a"
    with pytest.raises(TokenMalformedError):
        authorization_of(CIMultiDict([("Authorization", "Bearer a"), ("authorization", "Bearer a")]))


def test_a_role_the_principal_lacks_is_forbidden() -> None:
    principal = Principal("s", "c", frozenset({Role.AGENT_INVOKE}), TenantId("acme"))
    require_role(principal, Role.AGENT_INVOKE)
    with pytest.raises(RoleMissingError) as caught:
        require_role(principal, Role.PLATFORM_ADMIN)
    assert caught.value.role is Role.PLATFORM_ADMIN
    assert isinstance(caught.value, ForbiddenError)


@pytest.mark.parametrize(
    ("own", "named", "other"),
    [
        ("acme", "globex", "globex"),
        ("acme", "ACME", None),
        ("acme", "", None),
        ("acme", "acme ", None),
        (None, "acme", "acme"),
    ],
)
def test_naming_another_tenant_is_forbidden(own: str | None, named: str, other: str | None) -> None:
    principal = Principal("s", "c", frozenset(), None if own is None else TenantId(own))
    with pytest.raises(TenantMismatchError) as caught:
        check_tenant_header(principal, named)
    assert (caught.value.subject, caught.value.tenant_id, caught.value.named) == ("s", own, other)


def test_naming_one_s_own_tenant_is_fine() -> None:
    check_tenant_header(Principal("s", "c", frozenset(), TenantId("acme")), "acme")
