"""That a model loads, and that its configuration is completed from its file, or refused where the two disagree."""

from atoll.backends.api import Backend, Capabilities
from atoll.backends.registry import find_backend
from atoll.config.model_config import ModelConfig
from atoll.testing.backend_contract.declaration import FEATURES
from atoll.testing.backend_contract.making import Making
from atoll.testing.backend_contract.workshop import MadeModel, Spec, Workshop


def tensors(config: ModelConfig, made: MadeModel) -> tuple[tuple[Spec, ...], tuple[Spec, ...]]:
    """Inputs and outputs of a configuration, in the order in which the maker names them."""
    kinds = []
    for found, expected in ((config.input, made.inputs), (config.output, made.outputs)):
        order = [name for name, _, _ in expected]
        kinds.append(
            tuple(
                sorted(
                    ((one.name, one.data_type.protocol_name, () if one.reshape else tuple(one.dims)) for one in found),
                    key=lambda spec: order.index(spec[0]) if spec[0] in order else -1,
                )
            )
        )
    return kinds[0], kinds[1]


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
        made = self.identity_model(workshop, self.small())
        config, source = workshop.complete(workshop.put(workshop.folder(), "m", made))
        assert tensors(config, made) == (made.inputs, made.outputs)
        assert source.config == config

    def test_a_configuration_is_made_from_the_file_alone(self, workshop: Workshop) -> None:
        self.needs("names", "types", "shapes")
        for made in (
            self.identity_model(workshop, self.small()),
            self.identity_model(workshop, self.small(), batching=False),
        ):
            config, _ = workshop.complete(workshop.put(workshop.folder(), "m", made, made.extra))
            assert tensors(config, made) == (made.inputs, made.outputs)
            assert (config.max_batch_size > 0) is made.batching
