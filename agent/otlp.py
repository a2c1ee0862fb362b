"""OpenTelemetry: traces as spans, sent to a collector by OTLP over HTTP, with ids that X-Ray takes, too."""

import logging

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.aws.aws_xray_propagator import TRACE_HEADER_KEY, AwsXRayPropagator
from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent.tracing import SERVICE, Trace

_NANOSECONDS = 1_000_000_000


class Collector:
    """Sends traces to a collector; which one, and how, is told by OpenTelemetry's own `OTEL_*` variables."""

    def __init__(self) -> None:
        # What it has to say is raised, and logged as everything else is.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._exporter = OTLPSpanExporter()
        self._spans = InMemorySpanExporter()
        resource = Resource.create({"service.name": SERVICE})
        provider = TracerProvider(id_generator=AwsXRayIdGenerator(), resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self._tracer = provider.get_tracer("agent")
        self._propagator = AwsXRayPropagator()

    def send(self, trace: Trace) -> None:
        """Send a trace, in one request; raises `OSError` when the collector does not take it."""
        self._spans.clear()
        self._end(trace)
        if self._exporter.export(self._spans.get_finished_spans()) is not SpanExportResult.SUCCESS:
            raise OSError("the collector did not take it")

    def close(self) -> None:
        """Close the connections."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _end(self, trace: Trace) -> None:
        header = trace.sender.header if trace.sender else ""
        parent = self._propagator.extract({TRACE_HEADER_KEY: header})
        whole = self._tracer.start_span(
            SERVICE,
            parent,
            kind=api.SpanKind.CONSUMER,
            # The collector's X-Ray exporter makes annotations of the attributes that are named here.
            attributes={**trace.annotations, "aws.xray.annotations": list(trace.annotations)},
            start_time=_ns(trace.began),
        )
        within = api.set_span_in_context(whole)
        for step in trace.steps:
            part = self._tracer.start_span(step.name, within, start_time=_ns(step.began))
            _fail(part, step.error, step.ended)
            part.end(_ns(step.ended))
        _fail(whole, trace.error, trace.ended)
        whole.end(_ns(trace.ended))


def _fail(span: api.Span, code: str, at: float) -> None:
    if code:
        span.set_status(api.Status(api.StatusCode.ERROR, code))
        span.add_event("exception", {"exception.type": code, "exception.message": code}, _ns(at))


def _ns(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)
