"""Whom a connection trusts, and what it shows of us."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pycurl

from batchbridge.errors import ConfigError
from batchbridge_nomad.settings import NomadSettings
from batchbridge_nomad.transfer import Options


def trust(settings: NomadSettings) -> Options:
    """What a server must show, and what we show. ConfigError where a file cannot be used."""
    if not settings.address.startswith("https://"):
        return {}
    _check(settings)
    usual = ssl.get_default_verify_paths()
    own = settings.ca_cert or settings.ca_path
    verify = not settings.tls_skip_verify
    shown = {pycurl.SSLCERT: settings.client_cert, pycurl.SSLKEY: settings.client_key}
    return {
        # None: not libcurl's own authorities either, which it would add to ours.
        pycurl.CAINFO: (settings.ca_cert or None) if own else usual.cafile,
        pycurl.CAPATH: (settings.ca_path or None) if own else usual.capath,
        pycurl.SSL_VERIFYPEER: int(verify),
        pycurl.SSL_VERIFYHOST: 2 * int(verify),
        **{option: file for option, file in shown.items() if file},
    }


def _check(settings: NomadSettings) -> None:
    """libcurl would say it at the first request, and not which file."""
    context, directory = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings.ca_path or None
    with _named(ca_cert=settings.ca_cert, ca_path=settings.ca_path):
        if directory:
            next(Path(directory).iterdir(), None)
        if directory or settings.ca_cert:
            context.load_verify_locations(settings.ca_cert or None, directory)
    with _named(client_cert=settings.client_cert, client_key=settings.client_key):
        if settings.client_cert:  # `str`: a password would be asked for at the terminal
            context.load_cert_chain(settings.client_cert, settings.client_key, password=str)


@contextmanager
def _named(**files: str) -> Iterator[None]:
    """ConfigError, with their names, where these files cannot be used."""
    try:
        yield
    except OSError as error:  # of ssl's, too
        said = " and ".join(f"{name} {file}" for name, file in files.items() if file)
        remedy = "name PEM files: a certificate, and its own key, without a password"
        raise ConfigError(f"{said} cannot be used: {error.strerror}", remedy=remedy) from error
