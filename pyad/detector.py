"""A working detector from configuration: bundle, model, features and the site's rules put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyad.allow_list import AllowList
from pyad.bundle import Bundle, load_bundle
from pyad.config import Config, DriftSettings, VerdictSettings
from pyad.drift import DriftRules, DriftWatch
from pyad.features import FeatureExtractor
from pyad.incidents import MIN_CONNS, IncidentRules
from pyad.model import Model
from pyad.paths import find_bundle
from pyad.pipeline import Detector
from pyad.site import SiteCalibration, load_site
from pyad.verdict import Policy


@dataclass(frozen=True)
class LoadedDetector:
    """A detector with what people want to know of it.

    provider: the one the model really runs on. calibration: the site's file, "" for none. drift: watches whatever goes
    through, None where there is nothing to compare with.
    """

    detector: Detector
    name: str
    version: str
    sha256: Mapping[str, str]
    provider: str
    max_hosts: int
    warnings: Sequence[str]
    calibration: str = ""
    drift: DriftWatch | None = None

    @property
    def label(self) -> str:
        """Name and version of the bundle, as verdicts and notices name the model."""
        return f"{self.name}-{self.version}"


def load_detector(config: Config) -> LoadedDetector:
    """Verify the bundle, start the model.

    Raises PyadError for a bundle, a calibration or a provider that cannot be used.
    """
    bundle = load_bundle(find_bundle(config.model.bundle))
    site = load_site(Path(config.model.calibration), bundle) if config.model.calibration else None
    model = Model(bundle, config.model.provider, config.hosts.max_hosts)
    rules = IncidentRules(
        idle_s=config.incidents.incident_idle_s,
        min_conns={**MIN_CONNS, **bundle.min_conns, **config.incidents.min_conns},
        max_new_per_hour=config.incidents.max_new_per_hour,
        max_incidents=config.incidents.max_incidents,
        max_originators=config.incidents.max_originators,
        model=bundle.label,
    )
    detector = Detector(
        extractor=FeatureExtractor(config.hosts.max_hosts, config.hosts.host_idle_s),
        scorer=model,
        policy=_policy(bundle, site, config.verdict),
        allow_list=AllowList(config.verdict.allow_list),
        rules=rules,
        names=bundle.features,
        usual=bundle.usual,
    )
    return LoadedDetector(
        detector, bundle.name, bundle.version, bundle.sha256, model.provider, config.hosts.max_hosts, model.warnings,
        config.model.calibration, _watch(bundle, site, config.drift),
    )  # fmt: skip


def _policy(bundle: Bundle, site: SiteCalibration | None, settings: VerdictSettings) -> Policy:
    """Configuration over the site's calibration over the bundle."""
    thresholds, level, by_group = dict(bundle.thresholds), settings.novel_p, None
    if site is not None:
        thresholds |= site.thresholds
        level = site.novel_p if level is None else level
        by_group = site.by_group
    return Policy.build(thresholds, bundle.novelty, settings.thresholds, level, by_group)


def _watch(bundle: Bundle, site: SiteCalibration | None, settings: DriftSettings) -> DriftWatch | None:
    """Against the site's own reference where there is one, else the bundle's."""
    reference = bundle.reference if site is None or site.reference is None else site.reference
    if reference is None or not settings.window_h:
        return None
    rules = DriftRules(settings.window_h, settings.min_rows, settings.alarm_psi, settings.clear_psi)
    return DriftWatch(reference, bundle.features, rules)
