"""What the OpenAPI document says beyond the types: refusals, examples, bodies that we read ourselves."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.schemas import JobChange, KeyRequest, PredictRequest, ProblemView, RetryRequest, UploadRequest
from app.errors import CONTENT_TYPE
from trainer.spec import TrainingSpec
from trainer.spec.exporting import ExportSpec
from trainer.spec.importing import ImportSpec
from trainer.spec.prediction import PredictionSpec
from trainer.spec.scoring import ScoringSpec

REF = "#/components/schemas/{model}"

EXAMPLE_SPEC = {
    "name": "digits, five snapshots",
    "dataset": "mnist5k",
    "seed": 7,
    "augmentation": [{"kind": "random_crop", "padding": 2}],
    "network": {"kind": "convnet", "channels": [32, 64, 128], "batch_norm": {}, "dropout": {"drop": 0.3}},
    "optimizer": {"kind": "sgd", "momentum": {"form": "averaged", "b": 0.1}},
    "schedule": {"kind": "snapshot_cycles", "learning_rate": 0.1, "cycles": 5},
    "regularization": {"weight_decay": 5.0e-4},
    "batch_size": 128,
    "epochs": 20,
    "ensemble": {"kind": "snapshots", "last": 3},
}

SPEC_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="TrainingSpec")},
                "examples": {
                    "snapshot ensemble": {"value": EXAMPLE_SPEC},
                    "the smallest possible": {
                        "value": {
                            "name": "smallest",
                            "dataset": "mnist5k",
                            "network": {"kind": "mlp"},
                            "schedule": {"kind": "constant", "learning_rate": 0.01},
                            "epochs": 1,
                        }
                    },
                },
            },
            "application/yaml": {
                "schema": {"$ref": REF.format(model="TrainingSpec")},
                "example": "# What is wrong is told with its line.\nname: smallest\ndataset: mnist5k\n"
                "network: {kind: mlp}\nschedule: {kind: constant, learning_rate: 0.01}\nepochs: 1\n",
            },
        },
    }
}

EXAMPLE_SCORING = {
    "name": "five seeds, the best of their snapshots",
    "members": {"kind": "jobs", "ids": ["job_0199a1b2c3d47000", "job_0199a1b2c3d47001"], "last": 3},
    "select": {"kind": "greedy", "count": 20, "on": "validation/a"},
    "temperature": {"on": "validation/a"},
    "score_on": "validation/b",
}

SCORING_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="ScoringSpec")},
                "examples": {
                    "greedy selection": {"value": EXAMPLE_SCORING},
                    "the smallest possible": {
                        "value": {
                            "name": "two together",
                            "members": {"kind": "snapshots", "ids": ["snap_0199a1b2c3d47000", "snap_0199a1b2c3d47001"]},
                        }
                    },
                },
            }
        },
    }
}

EXAMPLE_IMPORT = {
    "name": "pets",
    "source": {"kind": "upload", "upload": "up_0199a1b2c3d47000"},
    "options": {"size": [64, 64], "channels": 3, "split": {"kind": "stratified", "validation": 0.2, "seed": 7}},
}

IMPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="ImportSpec")},
                "examples": {
                    "an upload": {"value": EXAMPLE_IMPORT},
                    "by name": {"value": {"source": {"kind": "named", "name": "mnist"}}},
                },
            },
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "description": "A small zip, tar or npz; see `name`."}
            },
        },
    }
}

UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="UploadRequest")},
                "examples": {"a zip file": {"value": {"name": "pets.zip", "size": 790000000, "sha256": "0f" * 32}}},
            }
        },
    }
}

PART_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

IMAGE_TYPES = ("multipart/form-data", "application/json", "application/octet-stream (npy)", "image/*")
BLACK_PNG = "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAEElEQVR4nGNgGAWjYBQQAwADLAABPwpG8wAAAABJRU5ErkJggg=="
"""28 × 28 pixels in base64."""

BINARY = {"type": "string", "format": "binary"}

IMAGES_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One image or many: files in a form, each with the name `images`; files in base64 as JSON; an "
        "array of uint8 (N, C, H, W) as numpy.save writes it; or one file alone.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": {"type": "array", "minItems": 1, "items": BINARY}},
                }
            },
            "application/json": {
                "schema": {"$ref": REF.format(model="PredictRequest")},
                "examples": {"one image": {"value": {"images": [BLACK_PNG]}}},
            },
            "application/octet-stream": {"schema": BINARY},
            "image/png": {"schema": BINARY},
            "image/jpeg": {"schema": BINARY},
        },
    }
}

BATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="PredictionSpec")},
                "examples": {
                    "a split as CSV": {"value": {"dataset": "mnist5k", "splits": ["validation"]}},
                    "everything as Parquet": {"value": {"dataset": "mnist5k", "format": "parquet"}},
                },
            }
        },
    }
}

EXPORT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="ExportSpec")},
                "examples": {"ONNX": {"value": {"format": "onnx"}}},
            }
        },
    }
}

RETRY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": {"$ref": REF.format(model="RetryRequest")}}},
    }
}

CHANGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="JobChange")},
                "examples": {"first in line": {"value": {"priority": 100}}},
            }
        },
    }
}

KEY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": REF.format(model="KeyRequest")},
                "examples": {
                    "a month": {"value": {"name": "laptop", "owner": "team-a", "scope": "submit", "expires_days": 30}}
                },
            }
        },
    }
}

ETAG = {"ETag": {"description": "The job's version.", "schema": {"type": "string"}}}

SUBMITTED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            **ETAG,
            "Location": {"description": "Where the job is.", "schema": {"type": "string"}},
            "Idempotency-Replayed": {
                "description": "`true` when the key's job was made before.",
                "schema": {"type": "string"},
            },
        }
    }
}

MADE_JOB: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The job is there already.",
        "content": {"application/json": {"schema": {"$ref": REF.format(model="JobView")}}},
    },
    201: {"headers": {"Location": {"description": "Where the job is.", "schema": {"type": "string"}}}},
}

MADE_ENSEMBLE: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {"description": "Where the ensemble is.", "schema": {"type": "string"}},
            "Idempotency-Replayed": {
                "description": "`true` when the key's ensemble was made before.",
                "schema": {"type": "string"},
            },
        }
    }
}

ANNOUNCED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "It was announced before.",
        "content": {"application/json": {"schema": {"$ref": REF.format(model="UploadView")}}},
    },
    201: {"headers": {"Location": {"description": "Where the upload is.", "schema": {"type": "string"}}}},
}

MADE_DATASET: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "It is there, or being made.",
        "content": {"application/json": {"schema": {"$ref": REF.format(model="DatasetDetailView")}}},
    },
    202: {"headers": {"Location": {"description": "Where the data set is to be.", "schema": {"type": "string"}}}},
}

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    200: {"headers": ETAG},
    304: {"description": "The job has not changed.", "headers": ETAG},
}

TITLE = "Annealer"
DESCRIPTION = """Trains image classifiers and scores them as ensembles.

Submit a spec, poll the job with `If-None-Match` and `Prefer: wait=30`, read its metrics, download its snapshots.
Where keys are asked for, send one with each request: `Authorization: Bearer ann_…`. What is another's is not found.
Errors are problem details (RFC 9457) with JSON Pointers to what is wrong."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals of an endpoint, for its `responses`."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {CONTENT_TYPE: {"schema": {"$ref": REF.format(model=ProblemView.__name__)}}},
        }
        for status in statuses
    }


AGAIN = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}

PREDICTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {
                "examples": {
                    "one image": {
                        "value": {
                            "id": "ens_0199a1b2c3d47000",
                            "classes": ["cat", "dog"],
                            "items": [
                                {
                                    "index": 0,
                                    "label": "dog",
                                    "probabilities": [0.125, 0.875],
                                    "top": [
                                        {"label": "dog", "probability": 0.875},
                                        {"label": "cat", "probability": 0.125},
                                    ],
                                    "disagreement": None,
                                    "members": None,
                                }
                            ],
                        }
                    }
                }
            }
        }
    },
    **problems(404, 408, 409, 413, 415, 422),
    503: problems(503)[503] | {"headers": AGAIN},
}

TOO_MANY = {str(status): {**refusal, "headers": AGAIN} for status, refusal in problems(429).items()}


DOCUMENTED = (
    TrainingSpec,
    ScoringSpec,
    ImportSpec,
    PredictionSpec,
    ExportSpec,
    UploadRequest,
    PredictRequest,
    RetryRequest,
    JobChange,
    KeyRequest,
    ProblemView,
)
"""Bodies that routes read themselves."""

KEYLESS: dict[int | str, dict[str, Any]] = {
    **{
        str(status): {
            **refusal,
            "headers": {"WWW-Authenticate": {"description": "What to send (RFC 6750).", "schema": {"type": "string"}}},
        }
        for status, refusal in problems(401).items()
    },
    **{str(status): refusal for status, refusal in problems(403, 421).items()},
}


def install(app: FastAPI, version: str) -> None:
    """Let `app` describe itself, the spec and the problem document included."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=TITLE, version=version, description=DESCRIPTION, routes=app.routes)
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for model in DOCUMENTED:
                schema = model.model_json_schema(ref_template=REF)
                schemas |= schema.pop("$defs", {})
                schemas[model.__name__] = schema
            for path, methods in document["paths"].items():
                if path.startswith("/v1/"):
                    for operation in methods.values():
                        operation["responses"] |= KEYLESS | TOO_MANY
            # Our own 422 is a problem document; the framework's is never sent.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
