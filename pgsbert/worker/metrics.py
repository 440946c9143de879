"""What Prometheus and probes read of a worker: counters made of its events, and whether it is ready."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

import pgsbert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    Unready = Callable[[], str | None]

# from a memo hit to a batch on a slow machine
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """The metrics of one worker process. docs/operations.md names each; a test compares."""

    def __init__(self, unready: Unready) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each counter that nobody asks for
        self.registry = registry = CollectorRegistry()
        self._settled = Counter(
            "pgsbert_rows_settled", "Rows whose vector was stored", ["vectorizer"], registry=registry
        )
        self._deferred = Counter(
            "pgsbert_rows_deferred",
            "Rows put off because somebody held or edited them",
            ["vectorizer"],
            registry=registry,
        )
        self._failed = Counter(
            "pgsbert_row_attempts_failed",
            "Attempts to embed a row that failed",
            ["vectorizer", "error_class"],
            registry=registry,
        )
        self._settle = Histogram(
            "pgsbert_settle_seconds",
            "How long one settle held row locks",
            ["vectorizer"],
            buckets=SECONDS,
            registry=registry,
        )
        self._answered = Counter(
            "pgsbert_questions_answered", "Questions from SQL that were answered", ["kind", "model"], registry=registry
        )
        self._questions_failed = Counter(
            "pgsbert_questions_failed",
            "Questions from SQL that the model failed on",
            ["kind", "model", "error_class"],
            registry=registry,
        )
        self._answer = Histogram(
            "pgsbert_answer_seconds",
            "From taking questions to their replies",
            ["kind", "model"],
            buckets=SECONDS,
            registry=registry,
        )
        self._lost = Counter(
            "pgsbert_connections_lost", "Connections to PostgreSQL that were lost", ["connection"], registry=registry
        )
        self._hung = Counter(
            "pgsbert_model_calls_hung", "Calls of a model that did not return within their limit", registry=registry
        )
        self._swept = Counter("pgsbert_rows_swept", "Rows queued by a sweep", ["vectorizer"], registry=registry)
        self._pending = Gauge(
            "pgsbert_rows_pending", "Rows that wait to be embedded", ["vectorizer"], registry=registry
        )
        self._given_up = Gauge("pgsbert_rows_failed", "Rows in pgsbert.failures", ["vectorizer"], registry=registry)
        self._oldest = Gauge(
            "pgsbert_oldest_pending_seconds",
            "How long the oldest pending row has waited",
            ["vectorizer"],
            registry=registry,
        )
        build = Gauge("pgsbert_build_info", "Version of the worker", ["version"], registry=registry)
        build.labels(pgsbert.__version__).set(1)
        ready = Gauge("pgsbert_ready", "1 while the worker serves, else 0", registry=registry)
        ready.set_function(lambda: 0.0 if unready() else 1.0)

    def observe(self, event: str, fields: Mapping[str, Any]) -> None:
        """Count one event of pgsbert.events."""
        match event:
            case "settled":
                self._settled.labels(fields["vectorizer"]).inc(fields["done"])
                self._deferred.labels(fields["vectorizer"]).inc(fields["deferred"])
                self._settle.labels(fields["vectorizer"]).observe(fields["seconds"])
            case "failed":
                self._failed.labels(fields["vectorizer"], fields["error_class"]).inc()
            case "answered":
                self._answered.labels(fields["kind"], fields["model"]).inc(fields["requests"])
                self._answer.labels(fields["kind"], fields["model"]).observe(fields["seconds"])
            case "question_failed":
                self._questions_failed.labels(fields["kind"], fields["model"], fields["error_class"]).inc()
            case "connection_lost" | "listener_lost":
                self._lost.labels("worker" if event == "connection_lost" else "listener").inc()
            case "model_call_hangs":
                self._hung.inc()
            case "swept":
                self._swept.labels(fields["vectorizer"]).inc(fields["queued"])
            case "queue_counted":
                self._count(fields["counts"])

    def _count(self, counts: Iterable[tuple[str, int, int, float]]) -> None:
        for gauge in (self._pending, self._given_up, self._oldest):
            gauge.clear()  # a vectorizer that was dropped has no queue any more
        for vectorizer, pending, failed, oldest in counts:
            self._pending.labels(vectorizer).set(pending)
            self._given_up.labels(vectorizer).set(failed)
            self._oldest.labels(vectorizer).set(oldest)


def serve(metrics: Metrics, unready: Unready, *, address: str, port: int) -> WSGIServer:
    """Serve /metrics, /ready (200, or 503 with the reason) and /live (200) in daemon threads; port 0 is any free one.

    Raises OSError if the address cannot be bound.
    """
    scrape = make_wsgi_app(metrics.registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                page: Iterable[bytes] = scrape(environ, start_response)
                return page
            case "/ready":
                reason = unready()
                return _say(start_response, "503 Service Unavailable" if reason else "200 OK", reason or "ready")
            case "/live":
                return _say(start_response, "200 OK", "live")
        return _say(start_response, "404 Not Found", "there are /metrics, /ready and /live")

    server = make_server(address, port, app, ThreadingWSGIServer, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


class _Quiet(WSGIRequestHandler):
    """Answers without a line in the log for each probe."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _say(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]
