"""The admin API, which controls a running service from another process.

It listens on loopback on a separate port, requires a bearer token that is new at each start, and refuses requests
whose Host header is not its loopback address, so that no web page can reach it by DNS rebinding. Bodies and
answers are JSON objects.

=======  ==============================  ==============================================================
method   path                            what it does
=======  ==============================  ==============================================================
GET      ``/``                           URLs of the services, path of the CA file
POST     ``/accounts``                   ``{email, password, manager?}`` → 201 ``{id, email, manager}``
POST     ``/client-keys``                ``{user}`` (id or e-mail) → 201 ``{client_id, client_secret}``
DELETE   ``/client-keys/{client_id}``    deletes client keys → 204
POST     ``/revocations``                ``{kind: "refresh" | "access", client_id?}`` → ``{revoked}``
GET      ``/counters``                   the counters, see :class:`CounterSnapshot`
DELETE   ``/counters``                   resets the counters → 204
POST     ``/sightings``                  ``{token}`` → ``{listeners}`` that received the token
GET      ``/faults``                     ``{faults: [{id, struck, spent, …fields of the fault}]}``
POST     ``/faults``                     the fields of :class:`Fault` → 201 ``{id}``
DELETE   ``/faults``                     clears all faults → 204
DELETE   ``/faults/{id}``                clears one fault → 204
GET      ``/clock``                      ``{now}``: the service's time in seconds since the epoch
POST     ``/clock``                      ``{advance}`` in seconds → ``{now}``
POST     ``/provisioning``               ``{id?}``: ends provisioning of one or all → ``{finished}``
POST     ``/updates``                    ``{id?}``: completes service updates of one or all → ``{finished}``
GET      ``/certificates/{id}``          ``{fingerprint}`` of a running node or cluster
POST     ``/certificates/{id}``          replaces its certificate → ``{fingerprint}``
DELETE   ``/services/{id}``              disables a service → 204
POST     ``/connect-keys``               ``{chain?}`` → 201 ``{key}``: a path key for Connect's JSON-RPC
DELETE   ``/connect-keys``               ``{key}``: deletes it → 204
GET      ``/streams``                    ``{open}``: number of stream connections
PATCH    ``/streams``                    ``{held}``: holds the stream's events, or releases them → 204
DELETE   ``/streams``                    cuts all stream connections → ``{dropped}``
GET      ``/outbox``                     ``{mails: [{to, user_id, token}]}``: verification mails
=======  ==============================  ==============================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.control import Control
from airflow_provider_bloq.testing.local.errors import LocalBloqConfigurationError, LocalBloqNotFound
from airflow_provider_bloq.testing.local.faults import ArmedFault, fault_from_json
from airflow_provider_bloq.testing.local.inbound import json_object, text_field
from airflow_provider_bloq.testing.local.problems import ApiProblem, problem_response
from airflow_provider_bloq.testing.local.tokens import same_secret

__all__ = [
    "AdminRoutes",
]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class AdminRoutes:
    """The routes of the admin API.

    :param control: Carries out the requests.
    :param bearer: The token that callers must send.
    :param facts: The answer of ``GET /``; filled in when the listeners are bound.
    """

    control: Control
    bearer: str
    facts: Mapping[str, str]

    def application(self) -> web.Application:
        """Return the application."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        application = web.Application(middlewares=[guarded])
        application.add_routes(self._routes())
        return application

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._facts),
            web.post("/accounts", self._create_account),
            web.post("/client-keys", self._create_keys),
            web.delete("/client-keys/{id}", self._delete_keys),
            web.post("/revocations", self._revoke),
            web.get("/counters", self._counters),
            web.delete("/counters", self._reset_counters),
            web.post("/sightings", self._sightings),
            web.get("/faults", self._faults),
            web.post("/faults", self._add_fault),
            web.delete("/faults", self._clear_faults),
            web.delete("/faults/{id}", self._clear_faults),
            web.get("/clock", self._clock),
            web.post("/clock", self._advance_clock),
            web.post("/provisioning", self._finish_provisioning),
            web.post("/updates", self._finish_updates),
            web.get("/certificates/{id}", self._fingerprint),
            web.post("/certificates/{id}", self._replace_certificate),
            web.delete("/services/{id}", self._disable_service),
            web.post("/connect-keys", self._create_connect_key),
            web.delete("/connect-keys", self._delete_connect_key),
            web.get("/streams", self._streams),
            web.patch("/streams", self._hold_streams),
            web.delete("/streams", self._drop_streams),
            web.get("/outbox", self._outbox),
        ]

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        options = self.control.backend.options
        try:
            self._check(request)
            return await handler(request)
        except ApiProblem as problem:
            return problem_response(problem, options)
        except LocalBloqNotFound as unknown:
            return problem_response(ApiProblem(404, "NotFound", f"There is no {unknown}"), options)
        except LocalBloqConfigurationError as wrong:
            return problem_response(ApiProblem(400, "InvalidBody", str(wrong)), options)

    def _check(self, request: web.Request) -> None:
        address = request.transport.get_extra_info("sockname") if request.transport else None
        port = address[1] if address else None
        if request.headers.get("Host", "") not in {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}:
            raise ApiProblem(403, "ForeignHost", "The Host header does not name this loopback listener")
        if not same_secret(request.headers.get("Authorization", ""), f"Bearer {self.bearer}"):
            raise ApiProblem(401, "Unauthorized", "The admin bearer is required")

    async def _facts(self, request: web.Request) -> web.Response:
        return web.json_response(dict(self.facts))

    async def _create_account(self, request: web.Request) -> web.Response:
        body = await json_object(request)
        account = self.control.create_account(
            text_field(body, "email"), text_field(body, "password"), body.get("manager") is True
        )
        shown = {"id": account.id, "email": account.email, "manager": account.manager}
        return web.json_response(shown, status=201)

    async def _create_keys(self, request: web.Request) -> web.Response:
        keys = self.control.create_client_keys(text_field(await json_object(request), "user"))
        return web.json_response(asdict(keys), status=201)

    async def _delete_keys(self, request: web.Request) -> web.Response:
        self.control.delete_client_keys(request.match_info["id"])
        return web.Response(status=204)

    async def _revoke(self, request: web.Request) -> web.Response:
        body = await json_object(request)
        client_id = _optional_text(body, "client_id")
        match body.get("kind"):
            case "refresh":
                revoked = self.control.revoke_refresh_tokens(client_id)
            case "access":
                revoked = self.control.revoke_access_tokens(client_id)
            case _:
                raise ApiProblem(400, "InvalidBody", "kind must be refresh or access")
        return web.json_response({"revoked": revoked})

    async def _counters(self, request: web.Request) -> web.Response:
        return web.json_response(self.control.counters().as_json())

    async def _reset_counters(self, request: web.Request) -> web.Response:
        self.control.reset_counters()
        return web.Response(status=204)

    async def _sightings(self, request: web.Request) -> web.Response:
        token = text_field(await json_object(request), "token")
        return web.json_response({"listeners": sorted(self.control.where_seen(token))})

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [_fault_view(armed) for armed in self.control.faults()]})

    async def _add_fault(self, request: web.Request) -> web.Response:
        fault = fault_from_json(await json_object(request))
        return web.json_response({"id": self.control.add_fault(fault)}, status=201)

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self.control.clear_faults(request.match_info.get("id"))
        return web.Response(status=204)

    async def _clock(self, request: web.Request) -> web.Response:
        return web.json_response({"now": self.control.backend.clock.now()})

    async def _advance_clock(self, request: web.Request) -> web.Response:
        seconds = (await json_object(request)).get("advance")
        if not isinstance(seconds, int | float):
            raise ApiProblem(400, "InvalidBody", "advance must be a number of seconds")
        return web.json_response({"now": self.control.advance_clock(seconds)})

    async def _finish_provisioning(self, request: web.Request) -> web.Response:
        deployment_id = _optional_text(await json_object(request), "id")
        return web.json_response({"finished": await self.control.finish_provisioning(deployment_id)})

    async def _finish_updates(self, request: web.Request) -> web.Response:
        cluster_id = _optional_text(await json_object(request), "id")
        return web.json_response({"finished": self.control.finish_updates(cluster_id)})

    async def _fingerprint(self, request: web.Request) -> web.Response:
        return web.json_response({"fingerprint": self.control.node_fingerprint(request.match_info["id"])})

    async def _replace_certificate(self, request: web.Request) -> web.Response:
        fingerprint = self.control.replace_node_certificate(request.match_info["id"])
        return web.json_response({"fingerprint": fingerprint})

    async def _disable_service(self, request: web.Request) -> web.Response:
        self.control.disable_service(request.match_info["id"])
        return web.Response(status=204)

    async def _create_connect_key(self, request: web.Request) -> web.Response:
        chain = _optional_text(await json_object(request), "chain")
        return web.json_response({"key": self.control.create_connect_key(chain or "eth")}, status=201)

    async def _delete_connect_key(self, request: web.Request) -> web.Response:
        self.control.delete_connect_key(text_field(await json_object(request), "key"))
        return web.Response(status=204)

    async def _streams(self, request: web.Request) -> web.Response:
        return web.json_response({"open": self.control.stream_connections()})

    async def _hold_streams(self, request: web.Request) -> web.Response:
        if (await json_object(request)).get("held") is True:
            self.control.hold_stream_events()
        else:
            self.control.release_stream_events()
        return web.Response(status=204)

    async def _drop_streams(self, request: web.Request) -> web.Response:
        return web.json_response({"dropped": self.control.drop_streams()})

    async def _outbox(self, request: web.Request) -> web.Response:
        return web.json_response({"mails": [asdict(mail) for mail in self.control.outbox()]})


def _optional_text(body: dict[str, Any], name: str) -> str | None:
    return text_field(body, name) if body.get(name) is not None else None


def _fault_view(armed: ArmedFault) -> dict[str, Any]:
    return {"id": armed.id, "struck": armed.struck, "spent": armed.spent, **asdict(armed.fault)}
