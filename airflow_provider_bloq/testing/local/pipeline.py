"""What every request of a listener passes through: faults, error answers, the Date header, counters, events."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Middleware

from airflow_provider_bloq.testing.local.authentication import bearer_token
from airflow_provider_bloq.testing.local.backend import Backend
from airflow_provider_bloq.testing.local.clock import http_date
from airflow_provider_bloq.testing.local.fault_actions import NoResponse, apply_fault
from airflow_provider_bloq.testing.local.problems import ApiProblem, problem_response
from airflow_provider_bloq.testing.local.users import AccountEvent

__all__ = [
    "Pipeline",
    "plain_application",
    "service_application",
]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LARGEST_BODY = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Handles the requests of one listener.

    :param service: ``accounts``, ``nodes``, ``rpc`` or ``connect``, as in faults and counters.
    :param listener: Name of the listener in the counters of credentials.
    :param prefix: Prefix of the paths of the service.
    """

    backend: Backend
    service: str
    listener: str
    prefix: str = ""

    async def run(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request."""
        backend = self.backend
        started_at = backend.clock.now()
        backend.counters.arrived(self.listener, request.headers.get("Authorization"))
        path = request.path.removeprefix(self.prefix) or "/"

        async def proceed() -> web.Response:
            return await self._handled(request, handler)

        armed = backend.faults.take(self.service, request.method, path)
        try:
            answer = await (apply_fault(armed, request, backend, proceed) if armed else proceed())
        except ApiProblem as problem:
            answer = problem_response(problem, backend.options)
        self._record(request, answer, path, started_at)
        return answer

    async def _handled(self, request: web.Request, handler: Handler) -> web.Response:
        try:
            answer = await handler(request)
        except ApiProblem as problem:
            return problem_response(problem, self.backend.options)
        except web.HTTPException as refusal:
            return problem_response(_problem_of(refusal), self.backend.options)
        if not isinstance(answer, web.Response):
            raise TypeError(f"a handler answered with {type(answer).__name__}, which a fault cannot change")
        return answer

    def _record(self, request: web.Request, answer: web.Response, path: str, started_at: float) -> None:
        backend = self.backend
        resource = request.match_info.route.resource
        template = resource.canonical.removeprefix(self.prefix) or "/" if resource else "unmatched"
        status = None if isinstance(answer, NoResponse) else answer.status
        backend.counters.answered(self.service, request.method, template, status)
        token = bearer_token(request.headers.get("Authorization"))
        grant = backend.tokens.find(token) if token else None
        user = backend.users.find(grant.user_id) if grant else None
        if user is None or answer.status == 401:
            return
        user.events.append(
            AccountEvent(
                id=f"event-{uuid.uuid4()}",
                service=self.service,
                method=request.method,
                path=path,
                started_at=started_at,
                ended_at=backend.clock.now(),
                status=answer.status,
                bytes_out=len(answer.body) if isinstance(answer.body, bytes) else 0,
            )
        )


def service_application(
    backend: Backend, service: str, routes: list[web.RouteDef], *, listener: str = "", prefix: str = ""
) -> web.Application:
    """Return the application of one listener.

    :param service: ``accounts``, ``nodes``, ``rpc`` or ``connect``.
    :param routes: Its routes, without the prefix.
    :param listener: Name of the listener in the counters of credentials; that of the service by default.
    :param prefix: Prefix of the paths if the application is mounted in another.
    """
    pipeline = Pipeline(backend, service, listener or service, prefix)

    @web.middleware
    async def through_pipeline(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await pipeline.run(request, handler)

    return _application(backend, routes, through_pipeline)


def plain_application(backend: Backend, routes: list[web.RouteDef] | None = None) -> web.Application:
    """Return an application without counters and faults, in which others are mounted."""

    @web.middleware
    async def with_error_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as refusal:
            return problem_response(_problem_of(refusal), backend.options)

    return _application(backend, routes or [], with_error_answers)


def _application(backend: Backend, routes: list[web.RouteDef], middleware: Middleware) -> web.Application:
    async def stamp(request: web.Request, answer: web.StreamResponse) -> None:
        # Clients derive the age of a token from this header, so it must follow the service's clock.
        answer.headers["Date"] = http_date(backend.clock.now())
        answer.headers["Server"] = "bloq-local"

    application = web.Application(middlewares=[middleware], client_max_size=_LARGEST_BODY)
    application.add_routes(routes)
    application.on_response_prepare.append(stamp)
    return application


def _problem_of(refusal: web.HTTPException) -> ApiProblem:
    # The other headers belong to the body that is replaced.
    kept = {name: value for name, value in refusal.headers.items() if name == "Allow"}
    return ApiProblem(refusal.status, refusal.reason.replace(" ", ""), refusal.reason, headers=kept)
