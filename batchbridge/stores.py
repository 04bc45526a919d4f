"""Where files wait that are too large for a submission: S3, or a shared directory.

A file is named by its content's digest, so one that is already there is not sent again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from batchbridge.errors import ConfigError, StoreError

SIGNED_FOR = 7 * 24 * 3600
"""Seconds that an address in S3 can be read; S3 signs none for longer."""


def put(store: str, name: str, data: bytes) -> str:
    """Keep `data` under `name` in `store`; return the address that anybody can read it from.

    `store` is ``s3://bucket/prefix``, or the absolute path of a directory, which has to exist. In
    S3 the address is signed, for SIGNED_FOR seconds or as long as the credentials live. Raises
    ConfigError where `store` is neither or boto3 is missing; StoreError where it cannot be done.
    """
    if store.startswith("/"):
        return _put_in_directory(Path(store), name, data)
    address = urlsplit(store)
    if address.scheme == "s3" and address.netloc:
        key = f"{address.path.strip('/')}/{name}".lstrip("/")
        return _put_in_s3({"Bucket": address.netloc, "Key": key}, data)
    raise ConfigError(
        f"store: {store!r} is no store",
        remedy="s3://bucket/prefix or the absolute path of a shared directory is one",
    )


def _put_in_directory(directory: Path, name: str, data: bytes) -> str:
    path = directory / name
    try:
        if not path.exists():
            _write_whole(path, data)
    except OSError as error:
        raise StoreError(
            f"store: cannot write to {directory}: {error.strerror}",
            remedy="the shared directory has to be there and writable",
        ) from error
    return path.as_uri()


def _write_whole(path: Path, data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".upload-", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # the job may run as another user
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _put_in_s3(at: Mapping[str, str], data: bytes) -> str:
    s3 = _s3_client()
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if not _in_s3(s3, at):
            s3.upload_fileobj(BytesIO(data), at["Bucket"], at["Key"])
        address: str = s3.generate_presigned_url("get_object", at, ExpiresIn=SIGNED_FOR)
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise StoreError(f"store: s3://{at['Bucket']}: {error}") from error
    return address


def _s3_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        remedy = "pip install 'batchbridge[s3]'"
        raise ConfigError(f"store: S3 needs boto3: {error}", remedy=remedy) from error
    # Left alone, boto3 signs addresses in the old way in some regions.
    return boto3.session.Session().client("s3", config=Config(signature_version="s3v4"))


def _in_s3(s3: Any, at: Mapping[str, str]) -> bool:
    try:
        s3.head_object(**at)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return False
        raise
    return True
