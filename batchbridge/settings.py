"""Which engine, how to reach it, and what its jobs default to: each value with its origin.

The strongest source that gives a value wins::

    flag > BATCHBRIDGE_<PROFILE>_<FIELD> > ./batchbridge.toml
         > the files that BATCHBRIDGE_CONFIG names > user's config.toml
         > /etc/batchbridge/config.toml > the engine's own variable > default

An empty variable is not set. What the site's file lists as ``locked`` nobody overrides. A project's
file, which comes with a checkout, may choose a profile and defaults that are inert; the rest of it
is refused unless the user's own file lists the directory as ``trusted``.

Credentials go to the address that they were configured for: at an address given ad hoc, by flag or
in a reference, nothing configured elsewhere applies but what is inert.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, Self

from batchbridge import configfiles, registry
from batchbridge.addresses import (
    is_address,
    main_address,
    one_way_each,
    ref_profile,
    refuse_users,
    same,
    what_stays,
)
from batchbridge.configfiles import (
    PROFILE_KEYS,
    PROFILE_NAME,
    SITE_FILE,
    printable,
    refuse_untrusted,
)
from batchbridge.defaults import check_tables, collect, merge, typed_as
from batchbridge.errors import ConfigError, DriverBug, SpecError
from batchbridge.fields import FieldHelp, build, describe, typed_options
from batchbridge.layers import Found, Layers, Origin, variable_name
from batchbridge.model import JobRef
from batchbridge.values import suggestion

DEFAULT_PROFILE: Final = "local"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A profile, ready for use."""

    profile: str
    backend: str
    driver_cls: registry.DriverClass
    settings: Any  #: an instance of ``driver_cls.Settings``
    origins: Mapping[str, Origin]  #: of each setting, ``store``, ``job.NAME``, ``options.NAME``
    options: Mapping[str, Any]  #: defaults for the driver's ``Options``
    job: Mapping[str, Any]  #: defaults for the fields of a job
    store: str | None  #: where files go that do not fit into a submission
    ref_profile: str  #: what stands in a reference: the profile, or the address given ad hoc
    withheld: tuple[str, ...] = ()  #: what is configured for another address than the one in use

    def spec(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """The form of a job with this profile's defaults under it, its options typed."""
        merged = merge(form, self.job, self.options)
        if isinstance(merged["options"], Mapping):
            merged["options"] = typed_options(self.driver_cls.Options, merged["options"])
        return merged

    def shown(self) -> list[tuple[str, str, Origin]]:
        """``(name, value, origin)`` of everything that has a value, for people; secrets masked."""
        settings, options = describe(self.driver_cls.Settings), describe(self.driver_cls.Options)
        values = {f.name: getattr(self.settings, f.name) for f in settings} | {"store": self.store}
        values |= {f"job.{name}": value for name, value in self.job.items()}
        values |= {f"options.{name}": value for name, value in self.options.items()}
        secret = {f.name for f in settings if f.secret}
        secret |= {f"options.{f.name}" for f in options if f.secret}
        return [
            (name, "***" if name in secret else printable(str(value)), self.origins[name])
            for name, value in values.items()
            if value is not None
        ]


@dataclass(frozen=True, slots=True)
class Config:
    """What the files and the environment say, read once."""

    layers: Layers

    @classmethod
    def load(
        cls,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        *,
        user: Path | None = None,
        site: Path = SITE_FILE,
    ) -> Self:
        """Read the files; ConfigError with file and line for what is wrong in them."""
        variables = dict(os.environ if env is None else env)
        named = [Path(p) for p in variables.get("BATCHBRIDGE_CONFIG", "").split(os.pathsep) if p]
        files = configfiles.load(cwd or _cwd(), named, user or user_file(), site)
        config = cls(Layers(files, variables))
        config._check_profiles()
        return config

    @property
    def default_profile(self) -> str:
        """The profile in use where none is named."""
        return self._chosen(None)

    def profiles(self) -> dict[str, str]:
        """Each profile's name with its backend: those of the files, then the bare backends."""
        backends = {name: self.backend(name) for name in self._defined()}
        return backends | {name: name for name in registry.names() if name not in backends}

    def in_use(self) -> list[str]:
        """The default profile, and those that files define: their names are no driver's."""
        drivers = registry.names()
        defined = (name for name in self._defined() if name not in drivers)
        return list(dict.fromkeys([self.default_profile, *defined]))

    def backend(self, profile: str) -> str:
        """The driver's name of a profile or a bare backend; ConfigError if neither is defined."""
        found = self.layers.strongest(
            self.layers.of_profile(profile, "backend"), ("profile", profile, "backend")
        )
        if profile in registry.names():
            if found and found.value != profile:
                problem = f"{found.origin}: the profile {profile!r} is the backend of that name"
                raise ConfigError(problem, remedy="give the profile another name")
            return profile
        if found:
            backend: str = found.value
            return backend
        raise self._undefined(profile)

    def resolve(
        self, profile: str | None = None, overrides: Mapping[str, Any] | None = None
    ) -> Resolved:
        """Everything about a profile or a bare backend (None: the default profile).

        `overrides` are flags: settings of the driver, or ``store``. Raises ConfigError naming the
        origin of what is wrong, DriverNotFound, DriverBroken.
        """
        return self._resolve(self._chosen(profile), overrides or {})

    def for_ref(self, ref: JobRef, overrides: Mapping[str, Any] | None = None) -> Resolved:
        """Everything about the engine that a reference names; ConfigError if nothing defines it.

        An address takes the settings of the profile, or of the bare backend, that is configured
        for that very address; where there is none, no settings but `overrides`.
        """
        if is_address(ref.profile):
            return self._at(ref.backend, ref.profile, overrides or {})
        backend = self.backend(ref.profile)
        if backend != ref.backend:
            raise ConfigError(f"{ref}: the profile {ref.profile!r} is one of {backend} here")
        return self._resolve(ref.profile, overrides or {})

    # -- profiles ----------------------------------------------------------------------------

    def _chosen(self, flag: str | None) -> str:
        flags = [Found(flag, Origin("flag"))] if flag else []
        rest = (
            self.layers.variable("BATCHBRIDGE_PROFILE"),
            self.layers.in_files("default_profile"),
        )
        found = self.layers.strongest(chain(flags, *rest), ("default_profile",))
        return found.value if found else DEFAULT_PROFILE

    def _defined(self) -> list[str]:
        return sorted({name for file in self.layers.files for name in file.profiles()})

    def _undefined(self, profile: str) -> ConfigError:
        known = [*self._defined(), *registry.names()]
        if profile in known:
            where = next(f for f in self.layers.files if profile in f.profiles())
            return where.error("names no backend", "profile", profile, remedy='add backend = "…"')
        name = profile if PROFILE_NAME.fullmatch(profile) else "NAME"
        return ConfigError(
            f"no profile {profile!r} is defined here{suggestion(profile, known)}; "
            f"there are {', '.join(known)}",
            remedy=f'add [profile.{name}] with backend = "…" and its address to {user_file()}',
        )

    def _check_profiles(self) -> None:
        prefixes: dict[str, str] = {}
        for name in self._defined():
            twin = prefixes.setdefault(variable_name(name, ""), name)
            if twin != name:
                raise ConfigError(f"the profiles {twin!r} and {name!r} share their variables")
        for file in self.layers.files:
            others = [f for f in self.layers.files if f.kind != "project"]
            for name, table in file.profiles().items():
                if "backend" in table and any(name in other.profiles() for other in others):
                    refuse_untrusted(file, "profile", name, "backend")

    # -- one profile -------------------------------------------------------------------------

    def _resolve(self, profile: str, overrides: Mapping[str, Any]) -> Resolved:
        backend = self.backend(profile)
        driver = registry.load(backend)
        known = describe(driver.Settings)
        _check_names(backend, known, overrides)
        check_tables(self.layers, profile, driver)
        found = self._found(profile, known, overrides)
        moved = [f for f in known if f.address and self._moves(profile, f, overrides)]
        kept = what_stays(known, found, moved)
        refuse_users(known, kept)
        settings = self._build(profile, driver, kept)
        rest = self._store(profile, overrides) | collect(self.layers, profile, driver.Options)
        secrets = {"job.secrets"} & rest.keys() if moved else set()
        rest = {name: value for name, value in rest.items() if name not in secrets}
        origins = {f.name: Origin("default") for f in known} | {"store": Origin("default")}
        return Resolved(
            profile=profile,
            backend=backend,
            driver_cls=driver,
            settings=settings,
            origins=origins | {name: f.origin for name, f in (kept | rest).items()},
            options=_under("options.", rest),
            job=_under("job.", rest),
            store=rest["store"].value if "store" in rest else None,
            ref_profile=ref_profile(profile, settings, known, moved),
            withheld=tuple(sorted(found.keys() - kept.keys() | secrets)),
        )

    def _at(self, backend: str, address: str, overrides: Mapping[str, Any]) -> Resolved:
        """The settings for that address; credentials of no other."""
        field = main_address(describe(registry.load(backend).Settings))
        if field is None:
            raise ConfigError(f"{backend} has no address, so {address!r} names none of its engines")
        if not same(overrides.get(field.name, address), address):
            overrides = {}  # they are for another engine
        overrides = {name: value for name, value in overrides.items() if name != field.name}
        for profile, theirs in {backend: backend, **self.profiles()}.items():
            if theirs == backend and same(self._configured(profile, field), address):
                return replace(self._resolve(profile, overrides), ref_profile=address)
        return self._resolve(backend, {**overrides, field.name: address})

    def _found(
        self, profile: str, known: Iterable[FieldHelp], overrides: Mapping[str, Any]
    ) -> dict[str, Found]:
        """What is configured, typed."""
        found = {}
        for f in known:
            given = self._given(profile, f, overrides)
            if given:
                found[f.name] = typed_as(f, given, f.name)
        return one_way_each(known, found)

    def _given(self, profile: str, field: FieldHelp, overrides: Mapping[str, Any]) -> Found | None:
        name = field.name
        flags = [Found(overrides[name], Origin("flag"))] if overrides.get(name) is not None else []
        rest = self.layers.of_profile(profile, name), self.layers.variable(field.env, "engine")
        return self.layers.strongest(chain(flags, *rest), ("profile", profile, name))

    def _configured(self, profile: str, field: FieldHelp) -> Any:
        given = self._given(profile, field, {})
        return typed_as(field, given, field.name).value if given else field.default

    def _moves(self, profile: str, field: FieldHelp, overrides: Mapping[str, Any]) -> bool:
        """Whether flags name another address than the one that is configured."""
        if overrides.get(field.name) is None:
            return False
        return not same(overrides[field.name], self._configured(profile, field))

    def _build(self, profile: str, driver: registry.DriverClass, kept: Mapping[str, Found]) -> Any:
        values = {name: found.value for name, found in kept.items()}
        try:
            return build(driver.Settings, values, path=profile)
        except SpecError as error:
            name = error.path.removeprefix(profile).lstrip(".")
            ways = f"set {name} in [profile.{profile}], or {variable_name(profile, name)}"
            if name in kept:
                ways = f"{name} comes from {kept[name].origin}"
            raise ConfigError(str(error), remedy=ways if name else "") from error

    def _store(self, profile: str, overrides: Mapping[str, Any]) -> dict[str, Found]:
        flags = [Found(overrides["store"], Origin("flag"))] if overrides.get("store") else []
        found = self.layers.strongest(
            chain(
                flags,
                self.layers.of_profile(profile, "store"),
                self.layers.variable("BATCHBRIDGE_STORE"),
                self.layers.in_files("store"),
            ),
            ("store",),
            ("profile", profile, "store"),
        )
        return {"store": found} if found else {}


def user_file() -> Path:
    """The user's own file."""
    from platformdirs import user_config_path  # here, for a fast start of the command line

    return user_config_path("batchbridge") / "config.toml"


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        problem = "the working directory is not there any more"
        raise ConfigError(problem, remedy="cd to one that is") from None


def _check_names(backend: str, known: Iterable[FieldHelp], overrides: Mapping[str, Any]) -> None:
    names = [field.name for field in known]
    for name in PROFILE_KEYS:
        if name in names:
            raise DriverBug(f"{backend}: {name!r} is a key of every profile, not a setting")
    for name in overrides:
        if name not in (*names, "store"):
            raise ConfigError(
                f"{backend} has no setting {name!r}{suggestion(name, names)}",
                remedy=f"it has {', '.join(names)}",
            )


def _under(prefix: str, found: Mapping[str, Found]) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): f.value for name, f in found.items() if name.startswith(prefix)
    }
