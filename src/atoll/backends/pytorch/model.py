"""A loaded model: what its configuration makes of its program, and its instances."""

from typing import Any

from atoll.backends.api import Instance, ModelSource, Placement
from atoll.backends.pytorch.cuda_instance import CudaInstance, fetcher, onto
from atoll.backends.pytorch.devices import device_of, instances_on_cpu, only_cpu
from atoll.backends.pytorch.instance import Feed, TorchInstance, converter
from atoll.backends.pytorch.modes import autocast_type, mode_of
from atoll.backends.pytorch.names import bind_inputs, bind_outputs
from atoll.backends.pytorch.program import Program
from atoll.backends.pytorch.results import Results
from atoll.backends.pytorch.settings import ModelSettings
from atoll.backends.pytorch.signatures import (
    refuse_wrong_strings,
    signature_under,
    text_shape,
)
from atoll.backends.pytorch.threads import thread_count
from atoll.config.tensor_types import input_types, output_types
from atoll.tensor import DataType


class TorchModel:
    """See `atoll.backends.api.BackendModel`. Raises ConfigError where the configuration does not fit the model."""

    def __init__(self, torch: Any, source: ModelSource, program: Program, settings: ModelSettings):
        config = source.config
        self.bounded = program.native and only_cpu(config)
        self._torch = torch
        self._name = source.name
        self._program = program
        self._settings = settings
        self._siblings = instances_on_cpu(config)
        self._input_types = input_types(config)
        self._output_types = output_types(config)
        self._bound = bind_inputs(source.name, program.forward, list(self._input_types))
        self._plan = bind_outputs(source.name, program.forward, list(self._output_types))
        refuse_wrong_strings(source.name, config, program.forward, self._bound)
        # of a class in a model.py nothing says it
        self.signature = program.signature and signature_under(config, source.name, program.forward, program.signature)
        self._text_shapes = {
            one.name: text_shape(source.name, config, one) for one in config.output if one.data_type is DataType.BYTES
        }
        forward = program.forward
        optional = {one.name for one in config.input if one.optional}
        self._may_lack = bool(optional) and (forward.keyed or bool(forward.optional))

    def instance(self, placement: Placement) -> Instance:
        """An instance on the device of its placement, with the module there."""
        torch, program, settings = self._torch, self._program, self._settings
        device = device_of(placement)
        module = program.modules.take(device)
        call = program.call(module, self._bound)
        feeds = [Feed(name, self._converter(name)) for name in self._bound if name is not None]
        if not device.startswith("cuda"):
            count = thread_count(torch, settings, placement, self._siblings)
            results = self._results()
            mode = mode_of(torch, settings, device)
            return TorchInstance(
                torch, placement.name, call, feeds, results, mode, threads=count, may_lack=self._may_lack,
                copies=program.copies_inputs, watches=program.watches_inputs,
            )  # fmt: skip
        stream = torch.cuda.Stream(device)
        feeds = [Feed(one.name, onto(torch, device, stream, one.convert)) for one in feeds]
        return CudaInstance(
            torch, placement.name, call, feeds, self._results(fetcher(torch, stream)),
            mode_of(torch, settings, device, stream), threads=0, may_lack=self._may_lack, copies=False, watches=False,
            stream=stream, clean_cache=settings.clean_cache,
        )  # fmt: skip

    def close(self) -> None:
        """Free the modules, and what a model.py has imported."""
        self._program.modules.close()
        self._program.close()

    def _converter(self, name: str) -> Any:
        return converter(self._torch, name, self._input_types.get(name, DataType.INVALID))

    def _results(self, fetch: Any = None) -> Results:
        return Results(
            self._torch,
            self._name,
            self._plan,
            self._output_types,
            self._text_shapes,
            self._program.copies_outputs,
            autocast_type(self._torch, self._settings),
            fetch,
        )
