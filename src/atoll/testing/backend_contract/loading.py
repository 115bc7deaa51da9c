"""That a model loads, and that its configuration is completed from its file, or refused where the two disagree."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from atoll.backends.api import Backend, Capabilities
from atoll.backends.registry import find_backend
from atoll.config.model_config import ModelConfig, ModelInput, ModelOutput
from atoll.errors import ConfigError
from atoll.server import Server
from atoll.testing.backend_contract.declaration import FEATURES
from atoll.testing.backend_contract.making import Making
from atoll.testing.backend_contract.workshop import MadeModel, Spec, Workshop


def spoken_of(config: ModelConfig, made: MadeModel) -> tuple[tuple[Spec, ...], tuple[Spec, ...]]:
    """The inputs and the outputs of a configuration, in the order in which the maker names them."""
    return _specs(config.input, made.inputs), _specs(config.output, made.outputs)


def _specs(tensors: Sequence[ModelInput | ModelOutput], expected: tuple[Spec, ...]) -> tuple[Spec, ...]:
    order = {name: place for place, (name, _, _) in enumerate(expected)}
    specs = [
        (one.name, one.data_type.protocol_name, () if one.reshape and not one.reshape.shape else tuple(one.dims))
        for one in tensors
    ]
    return tuple(sorted(specs, key=lambda spec: order.get(spec[0], len(order))))


class LoadingContract(Making):
    """Loading, and what is known then."""

    def test_what_it_says_of_itself(self) -> None:
        unknown = self.cannot.keys() - FEATURES.keys()
        assert not unknown, f"`cannot` names what there is not: {sorted(unknown)}; there is {sorted(FEATURES)}"
        assert all(reason.strip() for reason in self.cannot.values()), "each needs a reason"
        backend: Backend = self.backend()
        assert isinstance(backend.name, str)
        assert isinstance(backend.capabilities, Capabilities)
        assert not backend.capabilities.requests, "this suite is for backends of arrays"
        assert isinstance(backend.default_model_filename, str)
        assert backend.default_instance_count >= 1

    def test_it_comes_in_by_its_entry_point(self) -> None:
        found = find_backend(self.backend.name)
        assert type(found) is self.backend
        assert find_backend(self.backend.name) is found

    def test_a_complete_configuration_stays_as_it_is(self, workshop: Workshop) -> None:
        made = self.identity_model(workshop)
        config, source = workshop.complete(workshop.put(workshop.folder(), "m", made))
        assert spoken_of(config, made) == (made.inputs, made.outputs)
        assert source.config == config

    @pytest.mark.parametrize("batching", [True, False])
    def test_a_configuration_is_made_from_the_file_alone(self, workshop: Workshop, batching: bool) -> None:
        self.needs("names", "types", "shapes")
        made = self.identity_model(workshop, batching=batching)
        config, _ = workshop.complete(workshop.put(workshop.folder(), "m", made, made.extra))
        assert spoken_of(config, made) == (made.inputs, made.outputs)
        assert (config.max_batch_size > 0) is batching

    def test_the_file_names_several_tensors(self, workshop: Workshop) -> None:
        self.needs("names", "types", "shapes")
        made = self.sum_model(workshop)
        config, _ = workshop.complete(workshop.put(workshop.folder(), "m", made, made.extra))
        assert spoken_of(config, made) == (made.inputs, made.outputs)

    @pytest.mark.parametrize("left_out", ["types", "dims"])
    def test_a_configuration_is_completed(self, workshop: Workshop, left_out: str) -> None:
        self.needs("types" if left_out == "types" else "shapes")
        made = self.identity_model(workshop)
        lines = [f"max_batch_size: {8 if made.batching else 0}"]
        for kind, (name, datatype, dims) in (("input", made.inputs[0]), ("output", made.outputs[0])):
            rest = f"dims: {list(dims)}" if left_out == "types" else f"data_type: TYPE_{datatype}"
            lines.append(f'{kind} [{{name: "{name}", {rest}}}]')
        config, _ = workshop.complete(workshop.put(workshop.folder(), "m", made, "\n".join([*lines, made.extra])))
        assert spoken_of(config, made) == (made.inputs, made.outputs)

    # ---- where the configuration and the file disagree: both sides are named, and the model is not served

    @pytest.mark.parametrize("kind", ["inputs", "outputs"])
    def test_a_name_that_the_file_does_not_have(
        self, workshop: Workshop, server: Server, repository: Path, kind: str
    ) -> None:
        self.needs("names")
        made = self.identity_model(workshop)
        ((name, *rest),) = getattr(made, kind)
        specs = [("unheard_of", *rest)]
        self.refused(workshop, server, repository, made, made.config_with(kind, specs), "unheard_of", name)

    @pytest.mark.parametrize("kind", ["inputs", "outputs"])
    def test_a_type_that_the_file_does_not_have(
        self, workshop: Workshop, server: Server, repository: Path, kind: str
    ) -> None:
        self.needs("types")
        made = self.identity_model(workshop)
        ((name, datatype, dims),) = getattr(made, kind)
        other = "INT16" if datatype != "INT16" else "INT8"
        specs = [(name, other, dims)]
        self.refused(workshop, server, repository, made, made.config_with(kind, specs), name, other, datatype)

    @pytest.mark.parametrize("kind", ["inputs", "outputs"])
    def test_dims_that_the_file_does_not_have(
        self, workshop: Workshop, server: Server, repository: Path, kind: str
    ) -> None:
        self.needs("shapes")
        made = self.identity_model(workshop)
        ((name, datatype, _),) = getattr(made, kind)
        specs = [(name, datatype, (5,))]
        self.refused(workshop, server, repository, made, made.config_with(kind, specs), name, "5", "4")

    @pytest.mark.parametrize("kind", ["inputs", "outputs"])
    def test_more_tensors_than_the_model_has(
        self, workshop: Workshop, server: Server, repository: Path, kind: str
    ) -> None:
        self.needs("count")
        made = self.identity_model(workshop)
        ((name, datatype, dims),) = getattr(made, kind)
        extra = f"{name[:-1]}1" if name.endswith("__0") else "one_too_many"
        specs = [(name, datatype, dims), (extra, datatype, dims)]
        self.refused(workshop, server, repository, made, made.config_with(kind, specs), extra)

    def test_an_input_that_the_configuration_leaves_out(
        self, workshop: Workshop, server: Server, repository: Path
    ) -> None:
        self.needs("count")
        made = self.sum_model(workshop)
        text = made.config(inputs=made.inputs[:1])
        refusal = self.refused(workshop, server, repository, made, text)
        assert made.inputs[1][0] in refusal or ("1" in refusal and "2" in refusal), refusal

    def test_batches_where_the_file_has_none(self, workshop: Workshop, server: Server, repository: Path) -> None:
        self.needs("shapes")
        made = self.identity_model(workshop, batching=False)
        self.refused(workshop, server, repository, made, made.config(max_batch_size=8), made.inputs[0][0])

    def test_a_disagreement_is_seen_where_nothing_is_filled_in(self, workshop: Workshop, repository: Path) -> None:
        self.needs("names")
        made = self.identity_model(workshop)
        with workshop.loaded(made) as model:
            if getattr(model, "signature", None) is None:
                pytest.skip("a loaded model of this backend has no attribute `signature`")
        ((name, datatype, dims),) = made.outputs
        config = made.config_with("outputs", [("unheard_of", datatype, dims)])
        with workshop.server(repository, disable_auto_complete_config=True) as server:
            self.refused(workshop, server, repository, made, config, "unheard_of", name)

    def refused(
        self, workshop: Workshop, server: Server, repository: Path, made: MadeModel, config: str, *named: str
    ) -> str:
        """What a server says when it is to load the model with a wrong configuration."""
        name = workshop.fresh_name()
        workshop.put(repository, name, made, config)
        with pytest.raises(ConfigError) as refusal:
            server.load_model(name)
        text = str(refusal.value)
        assert name in text, text
        for one in named:
            assert one in text, text
        return text
