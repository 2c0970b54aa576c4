"""`/metrics`: what Prometheus reads."""

from fastapi import APIRouter, Request, Response

from app import telemetry
from app.api import documents
from app.api.deps import Reader

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documents.KEYLESS},
)
def metrics(caller: Reader, request: Request) -> Response:
    """In its text format. While the database is away, only what this process knows itself."""
    text = telemetry.text(request.app.state.registry)
    return Response(text, headers={"Content-Type": telemetry.CONTENT_TYPE})
