"""Model: the Python face of a loaded network. Checks what callers give, keeps the states of stateful models, has the rest computed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from . import lazy, runtime
from .assembly import checked_options, in_stages, make_network
from .caching import Kept
from .errors import InputError
from .executor import FOLD_LIMIT, Executor
from .inputs import Ragged, RaggedInputs, gather, in_batches, of_one_row, per_step, told, unreadable
from .limits import Budget
from .outputs import as_returned, report
from .spec import ModelSpec

if TYPE_CHECKING:
    from . import base_executor, batches, by_reference, input_masks, listing, staged_executor
    from . import stream as streams
    from .evaluation import activities, evaluating, predicting
    from .layers import call_masks
    from .layers import training as trained
    from .listing import LayerInfo
    from .stream import Stream
else:
    listing, streams, by_reference = map(lazy.module, ("fastlstm.listing", "fastlstm.stream", "fastlstm.by_reference"))
    batches, input_masks = map(lazy.module, ("fastlstm.batches", "fastlstm.input_masks"))
    call_masks, trained = map(lazy.module, ("fastlstm.layers.call_masks", "fastlstm.layers.training"))
    activities, evaluating = map(lazy.module, ("fastlstm.evaluation.activities", "fastlstm.evaluation.evaluating"))
    predicting = lazy.module("fastlstm.evaluation.predicting")
    staged_executor = lazy.module("fastlstm.staged_executor")

#: What ``verbose`` is unless a caller says otherwise.
SILENT = 0
#: Rows of a batch that holds all there are.
ALL = sys.maxsize
#: Inputs that are arrays, and no lists of sequences of different lengths, of which lists may come.
Arrays = np.ndarray | Mapping[str, np.ndarray]
#: What ``predict`` returns, for type checkers: an array, a list of arrays, or a dict of arrays by name.
Y_co = TypeVar("Y_co", covariant=True)
#: The same of a model from a file, which no type checker reads: what its caller says, else an array, or anything.
if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    Loaded = TypeVarWithDefault("Loaded", default=np.ndarray | Any)
else:
    Loaded = TypeVar("Loaded")


class Model(Generic[Y_co]):
    """A Keras model that computes without Keras. Made by :func:`fastlstm.load`.

    Type checkers cannot look into the file, and take what ``predict`` returns for an array. Where it is a list or a dict, say so:
    ``model: fastlstm.Model[list[np.ndarray]] = fastlstm.load("two_outputs.h5")``.

    Calls from several threads at once are safe (stateful models take turns), and so are pickling, copying and forking; with
    functions of the caller's, as far as these are.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        Names, shapes (batch first, None = any) and dtypes.
    generation : Generation
        Which Keras saved the file.
    layers : tuple of LayerInfo
        The layers in the file's order, and how each runs.
    executor : BaseExecutor
        What computes it.

    Examples
    --------
    >>> model = fastlstm.load(fastlstm.demo.MODEL)
    >>> model.summary()
    Model: 'sunspots', saved by Keras 3.15.1 on tensorflow, HDF5 model
    Layer (type)         Output Shape      Param #  Runs
    -------------------------------------------------------
    months (InputLayer)  (None, None, 1)   0        no work
    lstm (LSTM)          (None, None, 32)  4,352    native
    lstm_1 (LSTM)        (None, 32)        8,320    native
    dense (Dense)        (None, 12)        396      native
    Total params: 13,068
    >>> model.count_params()
    13068
    >>> model.predict_on_batch(np.zeros((3, 24, 1))).shape
    (3, 12)
    >>> model.reset_states()  # changes something where a model is stateful
    """

    def __init__(
        self, spec: ModelSpec, *, source: str = "model", threads: int = 1, precision: str | None = None, fold_limit: int = FOLD_LIMIT,
        custom_layers: Mapping[str, Callable[..., Any]] | None = None,
        custom_activations: Mapping[str, Callable[..., Any]] | None = None, budget: Budget | None = None,
        states: Mapping[str, tuple[np.ndarray, ...]] | None = None, kept: Kept | None = None,
    ):  # fmt: skip
        precision, threads = checked_options(spec.precision if precision is None else precision, threads, fold_limit)
        self._options: dict[str, Any] = {
            "source": source, "threads": threads, "precision": precision, "fold_limit": fold_limit,
            "custom_layers": custom_layers, "custom_activations": custom_activations,
        }  # fmt: skip
        self.spec, self.source, self.threads, self.generation = spec, source, threads, spec.generation
        budget = budget or Budget.unlimited()
        network = make_network(spec, source, custom_layers, custom_activations, budget)
        make = staged_executor.executor_of if in_stages(network) else Executor
        self.executor = make(network, threads=threads, precision=precision, fold_limit=fold_limit, budget=budget, kept=kept)
        self.inputs, self.outputs = self.executor.inputs, self.executor.outputs
        self._stateful = bool(self.executor.stateful)
        self._states: dict[str, tuple[np.ndarray, ...]] = {}
        self._turns = runtime.Turns(f"the stateful model of {source}" if self._stateful else f"the model of {source}")
        self._fast_path: runtime.FastPath | None = None  # for input of the shape that came last
        self.reset_states()
        if states:  # by layer path, of a stateful model that this is a copy of
            self._states = {path: tuple(array.copy() for array in arrays) for path, arrays in states.items()}

    # -- what it is -------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model's name in the file."""
        return self.spec.name

    @property
    def input_shape(self) -> Any:
        """Shape of the input, or a list of shapes; batch first, None = any."""
        return self.inputs[0].shape if len(self.inputs) == 1 else [info.shape for info in self.inputs]

    @property
    def output_shape(self) -> Any:
        """Shape of the output, or a list of shapes; batch first, None = any."""
        return self.outputs[0].shape if len(self.outputs) == 1 else [info.shape for info in self.outputs]

    @property
    def precision_used(self) -> str:
        """What runs: "float32", "float64", "bfloat16", "bfloat16x3", or "bfloat16 weights" (see docs/precision.md)."""
        return self.executor.precision.used

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers in the file's order, and how each runs."""
        return self.executor.layers()

    def count_params(self) -> int:
        """Number of weights."""
        return self.executor.network.count_params()

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers as Keras does, and how each runs.

        Parameters
        ----------
        print_fn
            Called with each line.
        """
        print_fn(f"Model: {self.name!r}, saved by {self.generation}")
        for line in listing.table(self.layers):
            print_fn(line)
        print_fn(f"Total params: {self.count_params():,}")

    @overload
    def plot(self, path: None = None) -> str: ...
    @overload
    def plot(self, path: str | os.PathLike[str]) -> None: ...

    def plot(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Draw the graph of layers as SVG: their shapes, and what computes each; nested models in frames.

        Parameters
        ----------
        path
            The file to write, ``.svg``; None: return the text.

        Returns
        -------
        str or None
            The text of the picture, without ``path``. In a notebook: ``IPython.display.SVG(model.plot())``.

        Raises
        ------
        InputError
            If the file cannot be written, or the model has more layers than a picture can show.
        """
        from .drawing import picture, saving  # of no use to those who draw nothing

        target = None if path is None else saving.checked_picture(path)
        drawn = picture.of_model(self.executor.spec, self.layers, self.name)
        if target is None:
            return drawn
        saving.keep(drawn, target)
        return None

    def _repr_html_(self) -> str:
        """The model as notebooks show it."""
        from .drawing import notebook

        threads = f"{self.threads} threads" if self.threads > 1 else "1 thread"
        computes = f"{self.executor.dtype.name}, {threads}, kernels of level {runtime.level()}"
        return notebook.page(self.name, str(self.generation), self.count_params(), self.inputs, self.outputs, self.layers, computes)

    def __repr__(self) -> str:
        return f"<fastlstm.Model {self.name!r}: {self.input_shape} -> {self.output_shape}, {self.generation}>"

    # -- what it does -----------------------------------------------------------------------------------------------------

    @overload
    def predict(
        self, x: Arrays, batch_size: int | None = None, verbose: int | str = SILENT, steps: int | None = None, callbacks: None = None
    ) -> Y_co: ...
    @overload
    def predict(
        self, x: Any, batch_size: int | None = None, verbose: int | str = SILENT, steps: int | None = None, callbacks: None = None
    ) -> Any: ...

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: int | str = SILENT, steps: int | None = None, callbacks: None = None
    ) -> Any:
        """Compute the model's outputs, as ``predict`` of the Keras that saved the file returns them.

        Parameters
        ----------
        x
            One input: an array (batch, ...), ``[array]``, or a list of arrays of one rank less: sequences of different
            lengths, each computed alone without padding. Several inputs: a list of these, or a dict by input name.
            Anything that NumPy takes as numbers, cast as Keras casts; columns, tables and tensors of other libraries. A generator,
            ``tf.data.Dataset``, ``DataLoader`` and the like: batch by batch, each x, (x,), (x, y) or (x, y, sample_weight).
        batch_size
            Rows are independent of it, but where the model makes them depend on each other: BatchNormalization called with
            training=True, or Attention without timesteps. There it is the number of rows that are computed together, 32 as in Keras
            unless the file fixes it, or batches are given. A stateful model has its own.
        verbose
            1 prints one line when done.
        steps
            So many batches, of data that go on for ever or of the first rows of arrays; None: all.
        callbacks
            None.

        Returns
        -------
        numpy.ndarray, list or dict
            As Keras returns it, float32 (float64 for float64 models). Per-timestep outputs of a list of sequences, or of batches of
            different lengths, come as a list of arrays (timesteps, ...).

        Raises
        ------
        InputError
            If ``x`` does not fit the model's inputs, or a signal handler calls a stateful model that it interrupts.

        Examples
        --------
        >>> model = fastlstm.load(fastlstm.demo.MODEL)
        >>> model.predict(np.zeros((32, 24, 1))).shape  # 32 sequences of 24 timesteps of one feature
        (32, 12)
        >>> model.predict([np.zeros((5, 1)), np.zeros((17, 1))]).shape  # of different lengths
        (2, 12)
        >>> model.predict(np.zeros((32, 24, 3)))
        Traceback (most recent call last):
            ...
        fastlstm.errors.InputError: input 'months': expected shape (any, any, 1), found (32, 24, 3)
        """
        try:
            if batch_size is None and verbose is SILENT and steps is None and callbacks is None and self._fast_path is not None:
                y = self._fast_path(x)
                if y is not None:
                    return y
            return self._predict(x, batch_size, verbose, steps, callbacks)
        except MemoryError as error:
            raise unreadable(error, "x") from error

    def _predict(self, x: Any, batch_size: Any, verbose: Any, steps: Any, callbacks: Any) -> Any:
        """:meth:`predict` of what does not fit the fast path."""
        silent = batch_size is None and verbose is SILENT and steps is None and callbacks is None
        if silent and self._fast_path is not None and (y := self._fast_path(of_one_row(x))) is not None:
            return [y[0]] if per_step(self.outputs[0]) else y
        start = None if silent else batches.begun(batch_size, verbose, steps, callbacks)
        if in_batches(x):
            return self._answer((one.gathered(self.inputs) for one in batches.of(x, steps)), ALL, start)
        given = gather(x, self.inputs)
        if steps is not None:
            given, batch_size = batches.first_of(given, batch_size, steps, self.inputs[0].shape[0])
        return self._answer((given,), batch_size, start)

    def _answer(self, parts: Iterable[Any], batch_size: int | None, start: float | None, masks: Sequence[np.ndarray | None] = ()) -> Any:
        """What ``predict`` returns for checked inputs, one part after another; ``start``, if it is to be reported.

        States change at the very end: until then nothing has happened, whatever interrupts it, and whoever forks.
        """
        if not self._stateful:
            return self._returned([self._outputs(given, batch_size) for given in parts], start)
        with self._turns:
            states = self._copied_states()
            result = self._returned([batches.with_states(self.executor, given, states, masks) for given in parts], start)
            self._states = states
            return result

    def _outputs(self, given: Any, batch_size: int | None) -> list[Any]:
        """The outputs of a model that is not stateful."""
        if isinstance(given, (Ragged, RaggedInputs)):
            outputs = self.executor.run_ragged(given)
            given = [given.padded] if isinstance(given, Ragged) and len(given.lengths) == 1 else []
        elif self.executor.crosses_rows:
            return batches.by_batch(self.executor, given, batch_size)
        else:
            outputs = self.executor.run(given)
        self._fast_path = self.executor.fast_path(given) or self._fast_path
        return outputs

    def _returned(self, parts: list[list[Any]], start: float | None) -> Any:
        """Outputs of one part after another, as Keras returns them."""
        outputs = parts[0] if len(parts) == 1 else batches.one_after_another(parts)
        report(len(outputs[0]), start)
        return as_returned(self.spec, outputs)

    def _copied_states(self) -> dict[str, tuple[np.ndarray, ...]]:
        return {path: tuple(array.copy() for array in arrays) for path, arrays in self._states.items()}

    @overload
    def predict_on_batch(self, x: Arrays) -> Y_co: ...
    @overload
    def predict_on_batch(self, x: Any) -> Any: ...

    def predict_on_batch(self, x: Any) -> Any:
        """The same as :meth:`predict`, but that all rows are one batch, where they depend on each other."""
        try:
            if self._fast_path is not None and (y := self._fast_path(x)) is not None:
                return y
            return self._answer((gather(x, self.inputs),), ALL, None)
        except MemoryError as error:
            raise unreadable(error, "x") from error

    @overload
    def __call__(self, x: Arrays, training: Any = False, mask: Any = None) -> Y_co: ...
    @overload
    def __call__(self, x: Any, training: Any = False, mask: Any = None) -> Any: ...

    def __call__(self, x: Any, training: Any = False, mask: Any = None) -> Any:
        """Compute the model's outputs, as calling the model gives them in the Keras that saved the file.

        Parameters
        ----------
        x
            As for :meth:`predict`, in one batch.
        training
            Whether layers are to behave as in training. Only where that changes nothing: what is random there, or depends on the
            batch, is not computed.
        mask
            Which timesteps are there, as if the inputs carried it: bool (batch, timesteps), or 1 and 0. Several inputs: a list with
            a mask or None for each, or a dict by input name.

        Returns
        -------
        numpy.ndarray, list or dict
            As :meth:`predict` returns it.

        Raises
        ------
        InputError
            If an argument does not fit the model.
        UnsupportedError
            If a mask that is given would meet one that Keras has written into the file.

        Examples
        --------
        >>> model = fastlstm.load(fastlstm.demo.MODEL)
        >>> y = model([[[0.1], [0.2], [0.0]]], mask=[[True, True, False]])
        >>> np.allclose(y, model([[[0.1], [0.2]]]), atol=1e-6)
        True
        """
        if not isinstance(training, (bool, int, np.bool_)) and training is not None:
            raise InputError(f"training: expected False, found {told(training)}")
        if training:
            trained.refuse_training(self.executor.network, training)
        if mask is None:
            return self.predict_on_batch(x)
        try:
            given = gather(x, self.inputs)
            if isinstance(given, (Ragged, RaggedInputs)):
                raise InputError("mask: expected None beside a list of sequences, each of which is computed whole, found a mask")
            masks = input_masks.gather_masks(mask, given, self.inputs)
            call_masks.check_masks(self.executor.network, [one is not None for one in masks])
            if self._stateful:
                return self._answer((given,), None, None, masks)
            return as_returned(self.spec, self.executor.run(given, None, masks))
        except MemoryError as error:
            raise unreadable(error, "x") from error

    def evaluate(
        self, x: Any, y: Any = None, batch_size: int | None = None, verbose: int | str = SILENT, sample_weight: Any = None,
        steps: int | None = None, callbacks: None = None, *, return_dict: bool = False, loss: Any = None, metrics: Any = None,
        weighted_metrics: Any = None, loss_weights: Any = None, penalties: bool = True,
    ) -> Any:  # fmt: skip
        """Compute the loss and metrics, as ``evaluate`` of the Keras that saved the file returns them.

        Parameters
        ----------
        x, y
            Inputs, as for :meth:`predict`. Targets: a row for each; several outputs: a list, or a dict by output name; None where ``x``
            gives batches, which bring their own.
        batch_size, verbose
            Batches are of 32 rows unless this or the file says otherwise. Nothing is printed.
        sample_weight
            How much each row counts, (batch,), or each timestep, (batch, timesteps); for several outputs one for all, a list or a dict.
        steps, callbacks
            As for :meth:`predict`.
        return_dict
            Return a dict by name.
        loss, metrics, weighted_metrics, loss_weights
            As for Keras's ``compile``: names, functions of ``(y_true, y_pred)`` in NumPy, objects that have ``get_config`` or as Keras
            serialises them; lists and dicts of these. None: what the file says that the model was compiled with.
        penalties
            Add the regularisation of layers, of weights and of what they give, to the loss, as Keras does?

        Returns
        -------
        float, list or dict
            The loss, and the metrics behind it.

        Raises
        ------
        InputError
            If an argument does not fit, the file does not say what the loss is, or a loss or metric is not known.

        Examples
        --------
        >>> loss, mae = fastlstm.load(fastlstm.demo.MODEL).evaluate(np.ones((4, 24, 1)), np.ones((4, 12)), loss="mse", metrics=["mae"])
        >>> mae > loss
        True
        """
        options = {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics, "loss_weights": loss_weights}
        batch = evaluating.batch_of(batch_size, self.inputs[0].shape[0])
        try:
            batches.check_steps(steps, callbacks)
            model, ordered = activities.exposed(self.spec, evaluating.wanted(self.spec, self.source, options), penalties)
            executor = self.executor if model is self.spec else Model(model, **self._options).executor
            parts, batch = batches.with_targets(x, y, sample_weight, self.inputs, batch, batch_size, steps)
            shown = ((ordered(self._shown(executor, part.given, batch)), part) for part in parts)
            return evaluating.evaluate(self.spec, self.source, shown, evaluating.Asked(batch, return_dict, penalties, options))
        except MemoryError as error:
            raise unreadable(error, "x") from error

    def _shown(self, executor: base_executor.BaseExecutor, given: Any, batch: int) -> predicting.Shown:
        """Outputs with their masks."""
        if not self._stateful:
            return predicting.shown(executor, given, batch)
        with self._turns:
            states = self._copied_states()
            found = predicting.shown_with_states(executor, given, states)
            self._states = states
            return found

    def stream(self, batch_size: int = 1, initial: Mapping[str, Any] | None = None, *, max_steps: int | None = None) -> Stream:
        """States outside the model, to advance one timestep at a time; for any causal model, however it was trained.

        Parameters
        ----------
        batch_size
            Number of rows, each with a state of its own.
        initial
            What the stream begins with, by name. An input, (batch_size, ...), stays the same for all timesteps, and ``step`` takes the
            others: a decoder's states, what it pays attention to, or all that the encoder of a seq2seq model reads. What depends on
            these inputs alone is computed once, whatever layers that takes, and recurrent layers whose ``initial_state`` it is start
            from it. A state as :attr:`fastlstm.Stream.state` calls it, "lstm/h", is what that layer starts from.
        max_steps
            How many timesteps a row has at most, until it is reset: for models with causal attention, which keep all of them.

        Raises
        ------
        UnsupportedError
            If a layer needs what is still to come: Bidirectional, go_backwards, pooling over time, Flatten over time, ...; or starts
            from a state that is not known when the stream begins. The message tells which, and what to give as ``initial``; and that
            ``max_steps`` is wanted.
        InputError
            If ``batch_size`` or ``max_steps`` is no positive number, there is no memory for so many states, or ``initial`` does not fit.

        Examples
        --------
        >>> stream = fastlstm.load(fastlstm.demo.MODEL).stream(batch_size=2)
        >>> stream.step([[0.1], [0.3]]).shape
        (2, 12)
        """
        return streams.Stream(self, batch_size, initial, max_steps)

    def reset_states(self) -> None:
        """Set the states of a stateful model to zeros."""
        if self._stateful:
            with self._turns:
                batch = self.inputs[0].shape[0]
                if batch is None:
                    raise InputError(f"{self.source}: a stateful model must have a fixed batch size, its inputs have none")
                self._states = self.executor.zero_states(self.executor.stateful, batch)

    def __reduce__(self) -> Any:
        with self._turns:
            states = self._copied_states()
        options = self._options | {name: by_reference.of(name, self._options[name]) for name in ("custom_layers", "custom_activations")}
        known = vars(self) if type(self) is Model else vars(Model(self.spec, **self._options))
        more = {name: value for name, value in vars(self).items() if name not in known}  # what a subclass keeps besides
        return by_reference.rebuilt, (Model, type(self), self.spec, options, states), more or None
