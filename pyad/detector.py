"""A working detector from configuration: bundle, model, features and the site's rules put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyad.allow_list import AllowList
from pyad.bundle import load_bundle
from pyad.config import Config
from pyad.features import FeatureExtractor
from pyad.incidents import MIN_CONNS, IncidentRules
from pyad.model import Model
from pyad.paths import find_bundle
from pyad.pipeline import Detector
from pyad.verdict import Policy


@dataclass(frozen=True)
class LoadedDetector:
    """A detector with what people want to know of it. provider: the one the model really runs on."""

    detector: Detector
    name: str
    version: str
    sha256: Mapping[str, str]
    provider: str
    max_hosts: int
    warnings: Sequence[str]

    @property
    def label(self) -> str:
        """Name and version of the bundle, as verdicts and notices name the model."""
        return f"{self.name}-{self.version}"


def load_detector(config: Config) -> LoadedDetector:
    """Verify the bundle, start the model. Raises PyadError for a bundle or a provider that cannot be used."""
    bundle = load_bundle(find_bundle(config.model.bundle))
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
        policy=Policy.build(bundle.thresholds, bundle.novelty, config.verdict.thresholds, config.verdict.novel_p),
        allow_list=AllowList(config.verdict.allow_list),
        rules=rules,
        names=bundle.features,
        usual=bundle.usual,
    )
    return LoadedDetector(
        detector, bundle.name, bundle.version, bundle.sha256, model.provider, config.hosts.max_hosts, model.warnings
    )
