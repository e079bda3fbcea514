"""Pipeline: from raw input to the answer, in one object and one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import caching, formats, lazy
from .errors import FormatError, InputError, VerificationError
from .executor import FOLD_LIMIT
from .inputs import in_batches, positive, unreadable
from .layers.matching import functions_of
from .listing import one_line
from .loading import opened
from .model import SILENT, Model
from .opening import Names, Readable, reading
from .pipeline_arguments import ends_linear, inverse_of, words_of
from .preprocessing import labels as label_lists
from .preprocessing.arguments import chosen, told
from .preprocessing.scaling import scaler_of
from .spec import PipelineSpec
from .stream import Stream
from .surroundings import Surroundings, after, before

if TYPE_CHECKING:
    from . import batches, examples, replacing, selftest
    from .evaluation import activities, compiling, counting, evaluating, labelled, predicting
    from .isolation import Isolation
else:
    batches, examples = map(lazy.module, ("fastlstm.batches", "fastlstm.examples"))
    replacing, selftest = map(lazy.module, ("fastlstm.replacing", "fastlstm.selftest"))
    compiling, counting = map(lazy.module, ("fastlstm.evaluation.compiling", "fastlstm.evaluation.counting"))
    evaluating, labelled = map(lazy.module, ("fastlstm.evaluation.evaluating", "fastlstm.evaluation.labelled"))
    activities, predicting = map(lazy.module, ("fastlstm.evaluation.activities", "fastlstm.evaluation.predicting"))

#: What both sides of padding are called.
SIDES = ("pre", "post")
#: Bytes of prepared input that a model is given at once: windows of a series take many times the memory of the series.
BLOCK = 64 << 20


class Pipeline:
    """A model, and what stands before and after it: texts or raw numbers go in; labels, or values in the user's units, come out.

    Objects of Keras and scikit-learn are read by their public attributes, once; a Pipeline holds plain data. It can be called from
    several threads, pickled and copied, as its Model can.

    Parameters
    ----------
    model
        The network, of one input and one output: a :class:`Model`.
    tokenizer
        Makes ids of texts: Keras's Tokenizer or :class:`fastlstm.preprocessing.Tokenizer`, the JSON that its ``to_json()`` gives or a
        path to that, or a dict of words and their ids (unknown words are then left out).
    maxlen
        Pad or cut texts to so many ids. None: the length that the model's input fixes; where it is open, each text is computed alone, as
        long as it is.
    padding, truncating
        "pre" or "post", as for :func:`fastlstm.preprocessing.pad_sequences`.
    scaler
        Scales raw numbers: a fitted MinMaxScaler, StandardScaler, RobustScaler or MaxAbsScaler of scikit-learn, a dict of plain numbers,
        the name of a function such as "log1p", or a list of these, done in order. All is computed in float64, as scikit-learn computes
        float64; the model gets it in its own dtype, float32 for most.
    window
        Cut a series into windows of so many timesteps. None: of as many as the model's input fixes.
    labels
        Names of the classes, in order: a list, or a fitted LabelEncoder, LabelBinarizer or OneHotEncoder of scikit-learn.
    inverse
        Take outputs back to the units of the data. True: by ``scaler``; the number or name of the column of ``scaler`` that the model
        predicts, or a list of them, one an output; or a scaler of its own, fitted on the targets.
    logits
        Are the outputs logits, of which softmax (of one output: sigmoid) makes probabilities? None: if the activation of the output layer
        is linear. With ``labels`` alone.

    Attributes
    ----------
    model : Model
        The network alone.
    labels : tuple
        Names of the classes, in order.

    Raises
    ------
    InputError
        If an argument is none of these, or does not fit the model.

    Examples
    --------
    >>> model = fastlstm.load(fastlstm.demo.MODEL)
    >>> pipeline = fastlstm.Pipeline(model, scaler=["sqrt", {"max_abs": 10}], window=132, inverse=True)
    >>> sunspots = fastlstm.demo.read_series().sunspots
    >>> pipeline.predict(sunspots[-132:]).shape  # the next 12 months
    (1, 12)
    """

    def __init__(
        self, model: Model[Any], *, tokenizer: Any = None, maxlen: int | None = None, padding: str = "pre", truncating: str = "pre",
        scaler: Any = None, window: int | None = None, labels: Any = None, inverse: Any = None, logits: bool | None = None,
    ):  # fmt: skip
        if not isinstance(model, Model):
            raise InputError(f"model: expected a fastlstm.Model, fastlstm.load(path), found {told(model)}")
        given = None if scaler is None else scaler_of(scaler)
        if logits is not None and not isinstance(logits, (bool, np.bool_)):
            raise InputError(f"logits: expected True, False or None, found {told(logits)}")
        names = () if labels is None else label_lists.labels_of(labels)
        spec = PipelineSpec(
            words=None if tokenizer is None else words_of(tokenizer), maxlen=None if maxlen is None else positive(maxlen, "maxlen"),
            padding=chosen(padding, "padding", SIDES), truncating=chosen(truncating, "truncating", SIDES),  # type: ignore[arg-type]
            scaler=given, window=None if window is None else positive(window, "window"), labels=names,
            logits=bool(names) and (ends_linear(model.spec) if logits is None else bool(logits)), inverse=inverse_of(inverse, given),
        )  # fmt: skip
        self.__setstate__((model, spec))

    def __getstate__(self) -> tuple[Model[Any], PipelineSpec]:
        return self.model, self.spec

    def __setstate__(self, state: tuple[Model[Any], PipelineSpec]) -> None:
        self.model, self.spec = model, spec = state
        self.labels = spec.labels
        self._surroundings = Surroundings(spec, model.inputs, model.outputs)

    # -- what it does -----------------------------------------------------------------------------------------------------

    def predict(self, x: Any, batch_size: int | None = None, steps: int | None = None) -> Any:
        """From raw input to the answer.

        Parameters
        ----------
        x
            With a tokenizer, or a model that takes texts: a text, or a list or array of them. With a scaler or a window: windows,
            (batch, timesteps, features); or a series, (timesteps, features), of which every window is computed. Where there is one
            feature its axis may be missing. A list of series of different lengths where the model leaves the number of timesteps open.
            Else what ``model.predict`` takes. Batches of any of these, as for :meth:`Model.predict`: but an iterator of texts, or of
            lists of words, gives one text after another.
        batch_size
            As for :meth:`Model.predict`.
        steps
            So many batches; None: all.

        Returns
        -------
        Labelled, numpy.ndarray, list or dict
            With ``labels``: the pair of labels and probabilities, a row for each text or window. With ``inverse``: values in the units of
            the data, float64. Else what ``model.predict`` gives.

        Raises
        ------
        InputError
            If ``x`` does not fit.
        """
        x = self._whole_texts(x)
        if in_batches(x):
            given = batches.Batches(x, steps, self._prepared)
            return self._surroundings.finish(self.model.predict(given, batch_size=batch_size, steps=steps))
        if steps is not None:
            raise InputError(f"steps: expected None, as x gives no batches, found {told(steps)}")
        return self._surroundings.finish(self._computed(self._surroundings.prepare(x), batch_size))

    def _whole_texts(self, x: Any) -> Any:
        """An iterator of texts as a list of them: it gives no batches."""
        return batches.unless_first(x, (str, bytes, list)) if self._surroundings.texts and in_batches(x) else x

    def _prepared(self, x: Any) -> Any:
        return self._surroundings.cast(self._surroundings.prepare(x))

    def _computed(self, x: Any, batch_size: int | None) -> Any:
        """What the model makes of what is prepared: of many windows some at a time, as a model reads copies of them."""
        model = self.model
        whole = model.spec.output_kind != "single" or model.executor.stateful or model.executor.crosses_rows
        if whole or not isinstance(x, np.ndarray) or x.nbytes <= BLOCK:
            return model.predict(self._surroundings.cast(x), batch_size=batch_size)
        rows = max(1, BLOCK * len(x) // x.nbytes)
        parts = (x[first : first + rows] for first in range(0, len(x), rows))
        return np.concatenate([model.predict(self._surroundings.cast(part), batch_size=batch_size) for part in parts])

    def evaluate(
        self, x: Any, y: Any = None, batch_size: int | None = None, verbose: int | str = SILENT, sample_weight: Any = None,
        steps: int | None = None, callbacks: None = None, *, return_dict: bool = False, loss: Any = None, metrics: Any = None,
        weighted_metrics: Any = None, loss_weights: Any = None, penalties: bool | None = None,
    ) -> Any:  # fmt: skip
        """Compute the loss and metrics of the answers to raw input, as :meth:`Model.evaluate`.

        Parameters
        ----------
        x
            As for :meth:`predict`.
        y
            A row for each text or window. With ``labels``: labels, or numbers of classes, (batch,), or (batch, timesteps) where the network
            has an output for each; or what its loss takes. Numbers that are labels are taken for these. With ``inverse``: values in the
            units of the data. Else targets of the network.
        batch_size, verbose, sample_weight, steps, callbacks, return_dict, loss, metrics, weighted_metrics, loss_weights
            As for :meth:`Model.evaluate`.
        penalties
            Add the regularisation of layers to the loss? None: where there is no ``inverse``, as it is in no units.

        Returns
        -------
        float, list or dict
            The loss, and the metrics behind it: with ``inverse`` in the units of the data.

        Raises
        ------
        InputError
            As :meth:`Model.evaluate`; if ``y`` has texts or whole numbers that name no class; or if the model is stateful, and the pipeline
            has an ``inverse``.

        Examples
        --------
        >>> model = fastlstm.load(fastlstm.demo.MODEL)
        >>> pipeline = fastlstm.Pipeline(model, scaler=["sqrt", {"max_abs": 10}], window=132, inverse=True)
        >>> sunspots = fastlstm.demo.read_series().sunspots
        >>> y = fastlstm.preprocessing.sliding_windows(sunspots[132:], 12)  # the 12 months after each window
        >>> loss, mae = pipeline.evaluate(sunspots[:-12], y, loss="mse", metrics=["mae"])
        >>> bool(10 < mae < 25)  # sunspots
        True
        """
        model, around = self.model, self._surroundings
        options = {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics, "loss_weights": loss_weights}
        x = self._whole_texts(x)
        targets = partial(self._targets, options=options) if self.labels else None
        given = batches.Batches(x, steps, self._prepared, targets) if in_batches(x) else self._prepared(x)
        if self.spec.inverse is None:
            added = penalties is None or penalties
            y = y if targets is None or y is None else targets(y)
            return model.evaluate(
                given, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict=return_dict, penalties=added, **options
            )  # fmt: skip
        if model.executor.stateful:
            raise InputError("evaluate: expected a pipeline whose model is not stateful, or which has no inverse; found one with both")
        batches.check_steps(steps, callbacks)
        batch = evaluating.batch_of(batch_size, model.inputs[0].shape[0])
        if penalties and any(map(activities.holds, model.spec.layers)):
            raise InputError(
                "penalties: expected None or False, as what layers give has penalties, which have no place beside an inverse; found True"
            )
        try:
            parts, batch = batches.with_targets(given, y, sample_weight, model.inputs, batch, batch_size, steps)
            found = ((predicting.shown(model.executor, part.given, batch), part) for part in parts)
            units = ((shown._replace(outputs=[around.finish(output) for output in shown.outputs]), part) for shown, part in found)
            asked = evaluating.Asked(batch, return_dict, bool(penalties), options)
            return evaluating.evaluate(model.spec, model.source, units, asked)
        except MemoryError as error:
            raise unreadable(error, "x") from error

    def _targets(self, y: Any, options: Mapping[str, Any]) -> Any:
        """What the network's loss takes in the place of labels."""
        spec, output = self.model.spec, self.model.outputs[0]
        chosen = evaluating.wanted(spec, self.model.source, options).loss
        (found,) = compiling.losses(chosen, spec.output_names, counting.COUNTINGS[spec.rules.evaluation])
        return labelled.targets(y, self.labels, output, found)

    def __call__(self, x: Any) -> Any:
        """The same as :meth:`predict`."""
        return self.predict(x)

    def prepare(self, x: Any) -> Any:
        """What the model gets of raw input.

        Parameters
        ----------
        x
            As for :meth:`predict`.

        Returns
        -------
        numpy.ndarray or list
            Ids, int32, or scaled numbers, float64: windows of a series are views.
        """
        return self._surroundings.prepare(x)

    def finish(self, y: Any) -> Any:
        """The answer to what the model gave.

        Parameters
        ----------
        y
            What ``model.predict`` returns.

        Returns
        -------
        Labelled, numpy.ndarray, list or dict
            As :meth:`predict` returns it.
        """
        return self._surroundings.finish(y)

    def stream(self, batch_size: int = 1, *, max_steps: int | None = None) -> PipelineStream:
        """A stream that takes raw timesteps and gives answers.

        Parameters
        ----------
        batch_size, max_steps
            As for :meth:`Model.stream`.

        Returns
        -------
        PipelineStream

        Raises
        ------
        InputError
            If the pipeline takes texts, or its scaler has other columns than a timestep.
        UnsupportedError
            As for :meth:`Model.stream`.
        """
        scaler, shape = self.spec.scaler, self.model.inputs[0].shape
        if self._surroundings.texts:
            raise InputError("stream: expected a pipeline of numbers, found one of texts; pipeline.model.stream() takes ids, one by one")
        if scaler is not None and scaler.columns not in (0, 1, shape[-1]):
            raise InputError(f"stream: expected a scaler of 1 column, or of each of a timestep, found one of {scaler.columns}")
        stream = PipelineStream(self.model, batch_size, None, max_steps)
        stream.surroundings = self._surroundings
        return stream

    # -- what it is -------------------------------------------------------------------------------------------------------

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print what is done before the network, its layers, and what is done after it.

        Parameters
        ----------
        print_fn
            Called with each line.
        """
        for line in before(self.spec, self._surroundings.texts):
            print_fn(one_line(f"Before: {line}"))
        self.model.summary(print_fn)
        for line in after(self.spec):
            print_fn(one_line(f"After: {line}"))

    def __repr__(self) -> str:
        done = [*before(self.spec, self._surroundings.texts), repr(self.model.name), *after(self.spec)]
        return one_line(f"<fastlstm.Pipeline: {' -> '.join(done)}>")

    def _repr_html_(self) -> str:
        """The pipeline as notebooks show it."""
        from .drawing import notebook

        return notebook.around(list(before(self.spec, self._surroundings.texts)), self.model.name, list(after(self.spec)))

    # -- files ------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        """Write the pipeline as one ``.fastlstm`` file: plain data, the model's weights, and cases that prove both.

        Parameters
        ----------
        path
            The file; replaced only once the new one is complete.
        verify
            Check the native results of the recorded cases against float64 before writing.

        Raises
        ------
        InputError
            If the file cannot be written.
        VerificationError
            If a result differs; nothing is written then.
        """
        target, model = replacing.checked(path), self.model
        cases = selftest.record(model)
        wrong = [case.case for case in (selftest.check(model, cases) if verify else ()) if not case.equal]
        if wrong:
            raise VerificationError(f"{target}: not written, {len(wrong)} of {len(cases)} cases differ from float64: {', '.join(wrong)}")
        spec = replace(self.spec, example=examples.record(self.spec, model.inputs, model.outputs))
        formats.own.write(target, replace(model.executor.spec, functions=functions_of(model.executor.network), pipeline=spec), cases)

    @classmethod
    def load(
        cls, path: Readable, *, threads: int = 1, precision: str | None = None,
        custom_layers: Mapping[str, Callable[..., Any]] | None = None,
        custom_activations: Mapping[str, Callable[..., Any]] | None = None, verify: bool = False, fold_limit: int = FOLD_LIMIT,
        max_bytes: int | None = None, isolated: bool | Isolation = False, cache: bool | None = None,
    ) -> Pipeline:  # fmt: skip
        """Load a pipeline that :meth:`save` wrote.

        Parameters
        ----------
        path, threads, precision, custom_layers, custom_activations, verify, fold_limit, max_bytes, isolated, cache
            As for :func:`load`.

        Returns
        -------
        Pipeline

        Raises
        ------
        InputError
            If the file holds a model alone. Else as :func:`load`.
        FormatError, UnsupportedError, VerificationError
            As :func:`load`.
        """
        if not (cache is None or isinstance(cache, bool)):
            raise InputError(f"cache: expected True, False or None, found {told(cache)}")
        plain = precision != "float64" and not custom_layers and not custom_activations and caching.wanted(cache)
        with reading(path, None, False, max_bytes, isolated, plain, pipelines=True) as source:
            spec = source.spec()
            if spec.pipeline is None:
                raise InputError(
                    f"{source.name}: expected a pipeline, found a model alone; make one of it: "
                    f"fastlstm.Pipeline(fastlstm.load({source.name!r}), ...)"
                )
            model = opened(
                source, spec, verify, threads=threads, precision=precision, fold_limit=fold_limit, custom_layers=custom_layers,
                custom_activations=custom_activations,
            )  # fmt: skip
            return fitted(cls, model, spec.pipeline)


def fitted(kind: type[Pipeline], model: Model[Any], spec: PipelineSpec) -> Pipeline:
    """The Pipeline of a file.

    Raises
    ------
    FormatError
        If it does not fit its model.
    """
    pipeline = kind.__new__(kind)
    try:
        pipeline.__setstate__((model, spec))
    except InputError as error:
        raise FormatError(f"{model.source}: the pipeline in it does not fit its model: {error}") from error
    return pipeline


def load_either(
    path: Readable, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None,
    max_bytes: int | None = None, isolated: bool | Isolation = False, **options: Any,
) -> Model[Any] | Pipeline:  # fmt: skip
    """The Pipeline in a file, or the Model that it holds alone: for the command line.

    Parameters
    ----------
    path, architecture, by_name, inputs, outputs, max_bytes, isolated
        As for :func:`load`.
    **options
        Those of :class:`Model`.

    Raises
    ------
    InputError
        If a part is asked for of the network of a pipeline. Else as :func:`load`.
    """
    with reading(path, architecture, by_name, max_bytes, isolated, pipelines=inputs is None and outputs is None) as source:
        custom = {name: options.get(name) for name in ("custom_layers", "custom_activations")}
        spec = source.cut(inputs, outputs, **custom)
        model = opened(source, spec, False, **options)
        return model if spec.pipeline is None else fitted(Pipeline, model, spec.pipeline)


class PipelineStream(Stream):
    """A :class:`fastlstm.Stream` that takes raw timesteps and gives answers. Made by :meth:`fastlstm.Pipeline.stream`."""

    surroundings: Surroundings

    def step(self, x_t: Any, *, rows: Any = None, out: np.ndarray | None = None) -> Any:
        """Advance by one timestep, as :meth:`fastlstm.Stream.step`: what goes in is scaled, what comes out is the answer.

        Parameters
        ----------
        x_t
            (batch_size, features)
        rows
            As for :meth:`fastlstm.Stream.step`.
        out
            None: an answer is an array of its own.

        Returns
        -------
        Labelled, numpy.ndarray, list or dict
            As :meth:`fastlstm.Pipeline.predict` returns it.
        """
        if out is not None:
            raise InputError(f"out: expected None for the stream of a pipeline, found {type(out).__name__}")
        return self.surroundings.finish(super().step(self.surroundings.step(x_t, "x_t"), rows=rows))

    def feed(self, chunk: Any, *, rows: Any = None) -> Any:
        """Advance by several timesteps, as :meth:`fastlstm.Stream.feed`.

        Parameters
        ----------
        chunk
            (batch_size, timesteps, features)
        rows
            As for :meth:`fastlstm.Stream.step`.

        Returns
        -------
        Labelled, numpy.ndarray, list or dict
            As :meth:`fastlstm.Pipeline.predict` returns it.
        """
        return self.surroundings.finish(super().feed(self.surroundings.step(chunk, "chunk"), rows=rows))
