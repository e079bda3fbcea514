"""Pipeline: from raw input to the answer, in one object and one file."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import caching, formats, lazy
from .errors import FormatError, InputError, VerificationError
from .executor import FOLD_LIMIT
from .inputs import in_batches, positive
from .layers.matching import functions_of
from .listing import one_line
from .loading import opened
from .model import Model
from .opening import Names, Readable, reading
from .preprocessing import labels as label_lists
from .preprocessing.arguments import TOKENIZER_LINE, chosen, json_of, told
from .preprocessing.scaling import chosen_columns, scaler_of
from .preprocessing.text import FILTERS, Tokenizer, checked_settings, tokenizer_of
from .spec import MOST_ID, ModelSpec, PipelineSpec, Scaler, Words
from .stream import Stream
from .surroundings import Surroundings, after, before

if TYPE_CHECKING:
    from . import batches, examples, replacing, selftest
    from .isolation import Isolation
else:
    batches, examples = map(lazy.module, ("fastlstm.batches", "fastlstm.examples"))
    replacing, selftest = map(lazy.module, ("fastlstm.replacing", "fastlstm.selftest"))

#: What both sides of padding are called.
SIDES = ("pre", "post")
#: Bytes of prepared input that a model is given at once: windows of a series take many times the memory of the series.
BLOCK = 64 << 20
#: What makes an output layer's outputs logits.
LINEAR = "linear"
TOKENIZERS = "a Tokenizer of Keras or of fastlstm.preprocessing, its to_json() or a path to that, or a dict of words and their ids"


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
        if in_batches(x) and self._surroundings.texts:
            x = batches.unless_first(x, (str, bytes, list))
        if in_batches(x):
            given = batches.Batches(x, steps, prepare=self._prepared)
            return self._surroundings.finish(self.model.predict(given, batch_size=batch_size, steps=steps))
        if steps is not None:
            raise InputError(f"steps: expected None, as x gives no batches, found {told(steps)}")
        return self._surroundings.finish(self._computed(self._surroundings.prepare(x), batch_size))

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
        cls, path: Readable, *, threads: int = 1, precision: str = "float32",
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
        plain = precision == "float32" and not custom_layers and not custom_activations and caching.wanted(cache)
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


# -- arguments --------------------------------------------------------------------------------------------------------------


def words_of(tokenizer: Any) -> Words:
    """The words of a tokenizer, however it is given."""
    name = "tokenizer"
    if isinstance(tokenizer, (str, bytes, os.PathLike)):
        tokenizer = json_of(tokenizer, name, TOKENIZER_LINE)
    if isinstance(tokenizer, Mapping) and set(tokenizer) == {"class_name", "config"} and isinstance(tokenizer["config"], Mapping):
        tokenizer = tokenizer_of(tokenizer["config"], name)
    if isinstance(tokenizer, Mapping):
        words: Mapping[Any, Any] = tokenizer
        settings: dict[str, Any] = {"filters": FILTERS, "num_words": None, "oov_token": None}
    else:
        words, settings = attributes_of(tokenizer)
    index: dict[str, int] = {}
    for word, number in words.items():
        if not isinstance(word, str) or isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number <= MOST_ID:
            raise InputError(f"{name}: expected words and their ids, from 0 to {MOST_ID}, found {told(word)}: {told(number)}")
        index[word] = int(number)
    if not index:
        raise InputError(f"{name}: expected one that knows words, found one without; call its fit_on_texts first")
    if settings["oov_token"] is not None and settings["oov_token"] not in index:
        raise InputError(f"{name}: expected an id for its oov_token {settings['oov_token']!r} in word_index, found none")
    return Words(index=index, **settings)


def attributes_of(tokenizer: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The words and the settings of an object that has Keras's attributes."""
    names = ("num_words", "filters", "lower", "split", "char_level", "oov_token")
    words = getattr(tokenizer, "word_index", None)
    if not isinstance(words, Mapping) or not callable(getattr(tokenizer, "texts_to_sequences", None)):
        raise InputError(f"tokenizer: expected {TOKENIZERS}, found {told(tokenizer)}")
    if getattr(tokenizer, "analyzer", None) is not None:
        raise InputError("tokenizer: expected one without an analyzer, which is code; cut texts into lists of words first")
    defaults = vars(Tokenizer())
    settings = checked_settings({name: getattr(tokenizer, name, defaults[name]) for name in names}, "tokenizer")
    if isinstance(settings["filters"], (list, tuple)):
        settings["filters"] = "".join(settings["filters"])
    return words, {**settings, "lower": bool(settings["lower"]), "char_level": bool(settings["char_level"])}


def inverse_of(inverse: Any, scaler: Scaler | None) -> Scaler | None:
    """What takes outputs back to the units of the data."""
    if inverse is None or inverse is False:
        return None
    names = isinstance(inverse, str) and scaler is not None and inverse in scaler.names
    columns = isinstance(inverse, (list, tuple)) and inverse and all(isinstance(one, (int, str, np.integer)) for one in inverse)
    by_column = names or (isinstance(inverse, (int, np.integer)) and inverse is not True) or (columns and of_scaler(inverse, scaler))
    if not by_column and inverse is not True:
        return scaler_of(inverse, "inverse")
    if scaler is None:
        raise InputError("inverse: expected a scaler too, or a scaler of its own, found none")
    return scaler if inverse is True else chosen_columns(scaler, copy.copy(inverse), "inverse")


def of_scaler(inverse: Any, scaler: Scaler | None) -> bool:
    """Are these columns of the scaler, and no functions?"""
    return all(not isinstance(one, str) or (scaler is not None and one in scaler.names) for one in inverse)


def ends_linear(spec: ModelSpec) -> bool:
    """Is the activation of the layer that makes the output linear?"""
    layer = spec.layers[spec.calls[spec.outputs[0].call].layer]
    while True:
        if layer.model is not None:
            return ends_linear(layer.model)
        if len(layer.children) != 1:
            return layer.config.get("activation") == LINEAR
        layer = layer.children[0]
