"""The content of a model file, made canonical: frozen, free of any generation's vocabulary, free of any kernel's layout.

``formats`` produces it, ``layers`` gives it meaning, ``.fastlstm`` files store it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from .errors import Problem
from .records import record

T = TypeVar("T")
#: Ways in which generations evaluate.
Evaluation = Literal[
    "keras3_activities",
    "keras3_masks",
    "keras3",
    "keras3_early",
    "keras3_batches",
    "valid_softmax",
    "valid",
    "elements",
    "unmasked_metrics",
    "tf2",
    "tf1",
    "tf1_13",
    "keras2_3",
    "sums_of_weights",
    "keras2",
    "keras1",
]
ModelClass = Literal["Sequential", "Functional"]
#: The largest id: ids are int32.
MOST_ID = (1 << 31) - 1
#: More than there can be of anything: no limit.
UNLIMITED = 1 << 62
Shape = tuple[int | None, ...]  # batch first; None where the size is only known with the data

#: The dtype of text, as an InputLayer declares it and a TensorInfo says it.
STRING = "string"
#: Dtypes that an InputLayer may declare and that hold whole numbers alone.
WHOLE = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"})


class Ref(NamedTuple):
    """One tensor of a graph: output number ``output`` of call number ``call``."""

    call: int
    output: int = 0


@record(frozen=True, eq=False)
class Fixed:
    """A tensor whose values stand in the file itself, where an output of another layer could stand."""

    array: np.ndarray  # batch first, as Keras takes it; bool for masks, else float32 (float64 where float32 would not do)


@record(frozen=True)
class Call:
    """One use of a layer in the graph. A shared layer has several."""

    layer: int  # index into ModelSpec.layers
    inputs: tuple[Ref | Fixed, ...] = ()  # the positional tensors, a list argument flattened: (x,), (a, b, ...), (query, value, key)
    # call arguments that change the result; tensors as Ref or Fixed, or a tuple of them: {"initial_state": (Ref, Ref)},
    # {"mask": Fixed}, {"use_causal_mask": True}
    keywords: Mapping[str, Any] = field(default_factory=dict)


def found_in(value: Any, kind: type[T]) -> Iterator[T]:
    """Values of a type among call arguments, however nested."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (Mapping, tuple, list)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from found_in(inner, kind)


@record(frozen=True)
class LayerSpec:
    """One layer as the file describes it."""

    class_name: str  # Keras's name of the class: "LSTM"
    name: str  # its name in the file, unique among its siblings
    # Keras 3's names of the arguments (where Keras 3 lacks one: Keras 2's), JSON values only. Activations are canonical
    # (see activations.py): a name, or {"name": ..., parameter: ...}. What a generation fills in by default stands here explicitly.
    config: Mapping[str, Any]
    # Keras 2's order and plain layout: LSTM (kernel (features, 4*units), recurrent_kernel (units, 4*units), bias (4*units,)),
    # gates i f c o; GRU gates z r h, bias (3u,) or (2, 3u). Empty for a layer whose children own the weights.
    weights: tuple[np.ndarray, ...] = ()
    # What it wraps. Bidirectional: (forward, backward), TimeDistributed: (layer,), RNN: (cell,), StackedRNNCells: cells.
    children: tuple[LayerSpec, ...] = ()
    model: ModelSpec | None = None  # the graph of a nested Sequential or Functional model
    dtype: Literal["float32", "float64", "float16", "bfloat16"] = "float32"  # what this layer computes in
    # What Keras adds to a loss for large weights: {"kernel": {"l2": 0.01, "array": 0}}, by the argument that says so, for which array.
    penalties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@record(frozen=True)
class Rules:
    """Meanings that differ between Keras generations and that no layer's own config tells.

    See ``formats/reading/dialect.py`` for which generation has which, and the test that holds each.
    """

    # Output of a recurrent layer at masked steps before the first valid one, when it was given a state.
    head_output: Literal["zeros", "state"] = "zeros"
    # Output of Bidirectional(return_sequences=True) at masked steps.
    bidirectional_masked_output: Literal["zeros", "repeat"] = "zeros"
    # ... does that hold for convolutional recurrent layers in it?
    convolutional_zeros: bool = True  # else they repeat, as they do outside Bidirectional
    # Does a recurrent layer given initial_state as a tensor honour its mask?
    mask_with_initial_state: bool = True
    # Does a stateful layer that is given initial_state go on from its recorded state instead, unless that is all zeros?
    recorded_state_wins: bool = False
    # Mask of Add, Multiply, Average, ... of several masked tensors.
    merge_mask: Literal["and", "or", "none"] = "and"
    # At masked steps, stacked cells emit the last output, or the h of the first cell.
    stacked_masked_output: Literal["last", "first"] = "last"
    # Order in which stacked cells return and take their states: as the cells stand, or the last cell's first.
    stacked_state_order: Literal["forward", "reversed"] = "forward"
    # Does the mask made inside TimeDistributed(layer) reach the next layer?
    time_distributed_inner_mask: bool = False
    # ... and when the batch size is fixed? Else the mask that came in goes out there, as it is.
    time_distributed_fixed_inner_mask: bool = True
    # Is a layer inside TimeDistributed given its part of a mask that has more axes than (batch, time)?
    time_distributed_passes_mask: bool = True
    # Around which layers TimeDistributed goes from step to step when the batch size is fixed, giving the layer no mask.
    time_distributed_loops: Literal["none", "own", "lstm", "all"] = "none"  # the user's own; besides LSTM and GRU; all
    # Does such a loop repeat the output before at masked steps?
    time_distributed_loop_repeats: bool = False
    # How data come to have the dtype that an InputLayer declares: fed as they are, at the model's own inputs alone; or by way of
    # float32, and at the inputs of nested models too.
    input_cast: Literal["fed", "called"] = "called"
    # Do layers that give back their input as it is, Activation("linear") and ActivityRegularization, pass its mask on? None: the file
    # does not tell.
    identity_masks: bool | None = True
    # Does the layer ReLU pass its input's mask on?
    relu_masks: bool = True
    # Do outputs of a nested model keep their masks? None: the file does not tell.
    nested_masks: bool | None = True
    # Does predict carry the states of stateful layers from call to call?
    carries_state: bool = True
    # ... and of stateful layers inside Bidirectional?
    bidirectional_carries_state: bool = True
    # Does MultiHeadAttention honour the masks of its inputs, and pass its query's on?
    attention_masks: bool = True
    # Does a layer Softmax read its input's mask?
    softmax_reads_mask: bool = False
    # Does MultiHeadAttention take the masks off the tensors that it reads, so that those who read them later find none?
    attention_takes_masks: bool = False
    # What MultiHeadAttention with dropout (or asked for its scores) gives a step that may see none: the mean of all values, or zeros.
    blind_attention: Literal["mean", "zeros"] = "mean"
    # Do the statistics of BatchNormalization called with training=True leave out masked steps?
    batch_statistics_mask: bool = False
    # What becomes of the state of a stateful layer in TimeDistributed: nobody knows; each step starts anew; it goes from step to step;
    # so too, after the first step has been computed once more.
    time_distributed_states: Literal["unknown", "none", "carried", "first_twice"] = "unknown"
    # Do GlobalAveragePooling1D and Attention weigh by the numbers of a mask that they are given? Else any but 0 counts as 1.
    masks_weigh: bool = True
    # Does MultiHeadAttention weigh by the numbers of an attention_mask, where it has no other mask? Else any but 0 counts as 1.
    heads_mask_weighs: bool = True
    # What Softmax makes of the numbers of a mask that it is given: it weighs by them, or those above a half count as 1.
    softmax_mask: Literal["weighs", "half"] = "weighs"
    # Do Rescaling and Normalization pass a mask on?
    preprocessing_masks: bool = False
    # Where "bilinear" takes the places of a larger image to be: pixels are squares, or points that meet in the first corner. Nobody
    # knows, where Theano computed.
    bilinear_places: Literal["centres", "corners", "unknown"] = "centres"
    # How ``evaluate`` counts rows, timesteps, masks and weights: see evaluation/counting.py.
    evaluation: Evaluation = "keras3_activities"


@record(frozen=True)
class Generation:
    """Who wrote the file, for people: no number may depend on it (``verify`` finds a live Keras by it)."""

    library: str  # "Keras" or "tf.keras"
    version: str  # "2.2.4", "2.2.4-tf"; "" if the file does not tell
    backend: str  # "tensorflow", "theano", "jax", ...; "" if the file does not tell
    file_kind: str  # "HDF5 model", "HDF5 weights + architecture", ".fastlstm", ...

    def __str__(self) -> str:
        backend = f" on {self.backend}" if self.backend else ""
        return f"{self.library} {self.version or '(version not recorded)'}{backend}, {self.file_kind}"


@record(frozen=True)
class Functions:
    """The functions of its user's that a model was converted with. No code: what the user called them, by where they stand."""

    layers: Mapping[str, str] = field(default_factory=dict)  # path of a layer ("encoder/attention") -> name in custom_layers
    activations: Mapping[str, str] = field(default_factory=dict)  # place ("lstm:activation") -> name in custom_activations


@record(frozen=True)
class Words:
    """Which words have which ids, and how a text is cut into words: what a pipeline keeps of a tokenizer."""

    index: Mapping[str, int]
    num_words: int | None = None  # ids from it on are not used
    filters: str = ""  # characters that separate words
    lower: bool = True
    split: str | None = " "
    char_level: bool = False
    oov_token: str | None = None  # the word whose id unknown words have; None: they are left out


@record(frozen=True)
class Step:
    """A part of a scaler, on columns of numbers."""

    op: str  # "add", "subtract", "multiply", "divide", "clip" or the name of a function ("sqrt"); see preprocessing/scaling.py
    values: tuple[float, ...] = ()  # one for all columns, or one a column; of "clip" the least and the largest


@record(frozen=True)
class Scaler:
    """What is done to numbers before a network reads them, in float64; backwards: how its outputs become numbers of the user's."""

    steps: tuple[Step, ...]
    columns: int = 0  # it was fitted on; 0: the same is done to all
    names: tuple[str, ...] = ()  # of the columns, where they have some


@record(frozen=True, eq=False)
class Example:
    """A recorded self-test of what stands around a network; the network has cases of its own."""

    texts: tuple[str, ...]  # raw input, or
    numbers: np.ndarray | None  # float64
    given: tuple[np.ndarray, ...]  # what the network gets of it: one array, or one a row
    output: np.ndarray  # numbers such as the network may give
    answer: tuple[np.ndarray, ...]  # what becomes of them: values, or probabilities and the numbers of the labels


@record(frozen=True)
class PipelineSpec:
    """What stands before and after a network, from raw input to the answer: plain data."""

    words: Words | None = None
    maxlen: int | None = None  # ids of a text; None: as many as it has words
    padding: Literal["pre", "post"] = "pre"
    truncating: Literal["pre", "post"] = "pre"
    scaler: Scaler | None = None
    window: int | None = None  # timesteps of the windows that a series is cut into
    labels: tuple[str | int | float | bool, ...] = ()
    logits: bool = False  # outputs become probabilities by softmax, or a single one by sigmoid
    inverse: Scaler | None = None  # for the outputs
    example: Example | None = None


#: The precision of models that say nothing of it, and those that files may name besides: of weights and of what they multiply.
FLOAT32, REDUCED = "float32", ("bfloat16", "bfloat16x3")


@record(frozen=True)
class ModelSpec:
    """A graph of layers. Sequential models are graphs too."""

    name: str
    class_name: ModelClass
    layers: tuple[LayerSpec, ...]
    calls: tuple[Call, ...]  # in topological order: a call refers to earlier calls only; InputLayers are calls without inputs
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]  # Keras's output names: of the layers that made them
    generation: Generation
    rules: Rules = Rules()
    output_kind: Literal["single", "list", "dict"] = "single"  # what predict returns
    # What the reader could not make sense of (the rest of the spec is as good as it gets). Not empty: it cannot be computed.
    problems: tuple[Problem, ...] = ()
    functions: Functions = Functions()  # of a whole model in a .fastlstm file: what it cannot be computed without
    # What a whole model was compiled with, canonical (see formats/reading/compiled.py); None where the file does not tell.
    compiled: Mapping[str, Any] | None = None
    pipeline: PipelineSpec | None = None  # of a whole model in a .fastlstm file: what stands around it
    precision: str = FLOAT32  # of a whole model in a .fastlstm file: what it is to be computed in, unless a caller says otherwise
    added: tuple[str, ...] = ()  # names of layers by which add_loss() and add_metric() added to what it was compiled with


@record(frozen=True)
class Case:
    """A recorded self-test: what the model gave when it was converted. Stateful models: several calls in a row."""

    name: str
    inputs: tuple[tuple[np.ndarray, ...], ...]  # call by call, one array an input of the model
    outputs: tuple[tuple[np.ndarray, ...], ...]  # call by call, float64 truth rounded to the model's dtype
    tolerance: float  # largest absolute difference that counts as equal
    tolerances: tuple[float, ...] = ()  # the same of each output; empty: ``tolerance`` for all
