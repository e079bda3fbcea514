"""The facts about Keras's classes that readers and layers share: one row for each class.

``formats`` reads files by them and ``layers`` gives the classes their meaning; neither repeats a fact that stands here. A row without
``arrays`` is of a class that fastlstm recognises but does not compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from enum import Enum
from typing import Any, Final, Literal

from .activations import LAYERS
from .kept_arrays import (
    Arrays,
    additive_arrays,
    affine_arrays,
    always,
    attention_arrays,
    batch_arrays,
    einsum_arrays,
    heads_arrays,
    highway_arrays,
    no_arrays,
    scaled,
    spectral_arrays,
    statistics_arrays,
    vocabulary_arrays,
    with_bias,
)  # fmt: skip
from .records import changed, record


class Role(Enum):
    """Families of classes that readers treat alike."""

    OTHER = "any other layer"
    INPUT = "where data enters a graph"
    MODEL = "a graph of layers"
    MASKING = "marks steps as missing"
    EMBEDDING = "reads integer ids"
    IDLE = "matters in training alone"
    NORMALIZATION = "keeps the statistics of batches"
    CONVOLUTION = "windows along time or over images, weighed by a kernel (size, channels, filters)"
    RECURRENT = "carries a state from timestep to timestep"
    CELL = "one step of a recurrent layer"
    STACK = "cells one on top of the other"
    BIDIRECTIONAL = "two recurrent layers, one in each direction of time"
    DISTRIBUTED = "one layer for every timestep"
    CODE = "a function of the user's, which the file holds as code"
    OPERATION = "an operation of the graph: see ``operations``"
    LOOKUP = "looks what it reads up in a vocabulary"
    CATEGORIES = "makes categories of what it reads, by a hash, by bins or as they are"


class MaskRule(Enum):
    """The mask of a layer's output. Where generations differ, this is Keras 3's rule, and ``spec.Rules`` says how others do it."""

    NONE = "none"
    PASSES = "that of its first input"
    SEQUENCES = "that of its input, if it returns sequences"
    UNITES = "those of its inputs, united"
    JOINS = "those of its inputs, one after the other"
    OF_FEATURES = "made: steps of which a feature differs from a value"
    OF_IDS = "made, if mask_zero: ids other than 0"
    INSIDE = "that of the layers inside"


class GraphNode(Enum):
    """The ways in which generations write operations of a graph."""

    KERAS3 = "an Operation of keras.ops"
    FUNCTION = "a function of TensorFlow, by its name"
    METHOD = "a method or property of a tensor"
    NODE_DEF = "an op of TensorFlow, by its node_def"


#: The rules of layers that make a mask of what they read.
MAKING = frozenset({MaskRule.OF_FEATURES, MaskRule.OF_IDS})

#: Call arguments that several classes honour.
STATES = frozenset({"initial_state", "mask"})
SCORES = frozenset({"use_causal_mask", "return_attention_scores"})
#: The tensors that attention layers are called on, in order. Keras 3 names masks after them: ``query_mask``.
ATTENTION_INPUTS = ("query", "value", "key")
#: Those that cells are called on as layers.
CELL_INPUTS = ("inputs", "states")
#: Call arguments that are masks: of the first input (or a tuple, of each), of an input of attention layers, of each pair of steps.
MASKED = frozenset({"mask"})
ATTENTION_MASKS = frozenset({f"{name}_mask" for name in ATTENTION_INPUTS})


@record(frozen=True)
class Row:
    """The facts about one class of Keras."""

    name: str
    role: Role = Role.OTHER
    # What it keeps; None: it is not computed.
    arrays: Arrays | None = None
    mask: MaskRule = MaskRule.NONE
    module: str = ""  # where in ``layers/`` the class stands that gives it meaning; empty: it is not computed

    # -- names and generations
    aliases: tuple[str, ...] = ()  # names that any generation may write in its place
    early_names: tuple[str, ...] = ()  # ... that Keras 0 and 1 alone may
    becomes: str = ""  # the class as which it is read, with the arguments of ``settings``
    settings: Mapping[str, Any] = field(default_factory=dict)
    later: bool = False  # multi-backend Keras never had it: there the name is of a user's own class

    # -- arguments
    renamed: Mapping[str, str] = field(default_factory=dict)  # older names of arguments
    early_renamed: Mapping[str, str] = field(default_factory=dict)  # ... those of Keras 0 and 1
    defaults: Mapping[str, Any] = field(default_factory=dict)  # what older configs leave out
    ignored: tuple[str, ...] = ()  # arguments that say nothing
    gives_back: bool = False  # its output is its very input, whose mask some versions lost there: see ``Rules.identity_masks``
    any_dtype: bool = False  # it gives back what it is given, or leaves the arithmetic to another layer
    tells_trainable: bool = True  # Keras 3 records ``trainable`` for it, as it does for no operation
    merge_mode: str = ""  # the mode of Keras 1's Merge that it was
    axes: int = 0  # spatial axes: 1 along time, 2 over images
    gates: int = 0  # gate count: 4 or 3, 0 where it has no gates
    kernels: int = 0  # how many of its arrays, the first ones, are convolution kernels
    graph_node: GraphNode | None = None  # what its reader makes an operation of
    adapted: bool = False  # Keras 3's enable_lora knows it
    terms: Literal["", "string", "int64"] = ""  # of a lookup: what its vocabulary consists of
    quantised: bool = False  # ... and its quantize, which makes whole numbers of its first array: see ``scaled``

    # -- calls
    call: frozenset[str] = frozenset()  # call arguments that are honoured
    inputs: tuple[str, ...] = ()  # names of its tensors, where they may be passed by name
    mask_argument: bool = False  # its call has an argument ``mask``: Keras 3 writes the mask that it filled in there into the file
    asks_masks: bool = False  # it asks the tensors for their masks when it is called
    takes_masks: bool = False  # ... and takes them off the tensors, from Keras 3.8 on

    # -- the objects in .keras and .weights.h5 files
    wraps: tuple[str, ...] = ()  # attributes that hold what it wraps; of one alone, its argument too
    in_trees: str = ""  # its name there, where that is not what the config calls it
    parts: tuple[tuple[str, ...], ...] = ()  # attributes that hold its arrays, each with its other names

    @property
    def computed(self) -> bool:
        """Does fastlstm compute it?"""
        return self.arrays is not None

    @property
    def takes_states(self) -> bool:
        """Are the tensors after its first the states that it starts from?"""
        return "initial_state" in self.call

    @property
    def steps(self) -> bool:
        """Is it a cell, or a stack of them, whose tensors are an input and the states before it?"""
        return self.role in (Role.CELL, Role.STACK)

    @property
    def gated(self) -> bool:
        """Is it LSTM or GRU, or a cell of theirs?"""
        return self.gates > 0 and not self.axes

    @property
    def fused(self) -> bool:
        """Has tf.keras 2 an implementation of it that is cuDNN's?"""
        return self.role is Role.RECURRENT and self.gated

    def makes_mask(self, config: Mapping[str, Any]) -> bool:
        """Does a layer of this config make a mask? One of an unknown class may, if it says mask_zero."""
        return self.mask is MaskRule.OF_FEATURES or bool(config.get("mask_zero"))


# -- rows -----------------------------------------------------------------------------------------------------------------


def along(row: Row, *axes: int, later: Iterable[int] = ()) -> Iterator[Row]:
    """The rows of a family: "Conv{}D" along one axis or more. Other names than the first were only ever those of 1D and 2D."""
    for count in axes:
        name = f"{count}D"
        aliases, early = (tuple(one.format(name) for one in names if count < 3) for names in (row.aliases, row.early_names))
        yield changed(row, name=row.name.format(name), aliases=aliases, early_names=early, axes=count, later=row.later or count in later)


def named(row: Row, *names: str) -> Iterator[Row]:
    """Rows of several classes that differ in name alone."""
    for name in names:
        yield changed(row, name=name)


UNITS = {"output_dim": "units"}
PASSES, UNITES, SEQUENCES = MaskRule.PASSES, MaskRule.UNITES, MaskRule.SEQUENCES
#: The attributes that hold the arrays of attention layers with heads.
HEADS = tuple((f"{part}_dense", f"_{part}_dense") for part in ("query", "key", "gate", "value", "output"))


def models() -> Iterator[Row]:
    """Graphs of layers, and where data enters them. The reader makes each model one of the first two."""
    yield from named(
        Row("", Role.MODEL, no_arrays, MaskRule.INSIDE, "network", tells_trainable=False, call=MASKED | {"training"}),
        "Sequential", "Functional", "Model",
    )  # fmt: skip
    yield from named(Row("", Role.MODEL, tells_trainable=False), "Container", "Network", "Graph")
    yield Row("InputLayer", Role.INPUT, no_arrays, PASSES, "core", tells_trainable=False)


def core() -> Iterator[Row]:
    """Layers that every model is made of."""
    linear = {"activation": "linear"}
    yield Row(
        "Dense", arrays=scaled(with_bias("kernel")), mask=PASSES, module="core", aliases=("DenseV1",),
        early_names=("TimeDistributedDense",), early_renamed=UNITS, defaults=linear, adapted=True, quantised=True,
    )  # fmt: skip
    yield Row("EinsumDense", arrays=scaled(einsum_arrays), module="einsum", later=True, adapted=True, quantised=True)
    yield Row("Activation", arrays=no_arrays, mask=PASSES, module="core", defaults=linear)
    yield Row(
        "Embedding", Role.EMBEDDING, scaled(always("embeddings")), MaskRule.OF_IDS, "core", ignored=("input_length",), adapted=True,
        quantised=True,
    )  # fmt: skip
    yield Row("Masking", Role.MASKING, no_arrays, MaskRule.OF_FEATURES, "core")
    yield Row("Reshape", arrays=no_arrays, module="core", early_renamed={"dims": "target_shape"}, any_dtype=True)
    yield from named(Row("", arrays=no_arrays, module="core", any_dtype=True), "Flatten", "Permute", "RepeatVector")
    idle = Row("", Role.IDLE, no_arrays, PASSES, "core")
    yield changed(idle, name="Dropout", any_dtype=True)
    yield changed(idle, name="SpatialDropout1D", any_dtype=True, tells_trainable=False)
    yield from named(changed(idle, tells_trainable=False), "SpatialDropout2D", "SpatialDropout3D")
    yield from named(idle, "GaussianNoise", "GaussianDropout", "AlphaDropout")
    yield changed(idle, name="ActivityRegularization", gives_back=True)
    yield from named(changed(idle, gives_back=True, any_dtype=True, later=True), "AddLoss", "AddMetric")  # tf.keras alone: add_loss()
    yield changed(idle, name="Identity", later=True)


def recurrent() -> Iterator[Row]:
    """Recurrent layers, their cells, and what is wrapped around layers along time."""
    tanh = {"activation": "tanh"}
    layer = Row(
        "", Role.RECURRENT, with_bias("kernel", "recurrent_kernel"), SEQUENCES, "recurrent", early_renamed=UNITS, defaults=tanh,
        call=STATES, mask_argument=True, parts=(("cell",),),
    )  # fmt: skip
    yield changed(layer, name="LSTM", gates=4, aliases=("UnifiedLSTM", "LSTMV1", "LSTMV2"))
    yield changed(layer, name="GRU", gates=3, aliases=("UnifiedGRU", "GRUV1", "GRUV2"))
    yield changed(layer, name="SimpleRNN")
    yield changed(layer, name="RNN", arrays=no_arrays, early_renamed={}, defaults={}, parts=(), wraps=("cell",))
    yield from along(
        changed(
            layer, name="ConvLSTM{}", module="conv_recurrent", early_renamed={}, defaults={**tanh, "recurrent_activation": "hard_sigmoid"},
            gates=4, kernels=2,
        ),
        1, 2, 3, later=(1, 3),
    )  # fmt: skip
    fixed = {**tanh, "recurrent_activation": "sigmoid", "use_bias": True}
    cudnn = changed(layer, arrays=None, module="", early_renamed={}, parts=())
    yield changed(cudnn, name="CuDNNLSTM", becomes="LSTM", settings=fixed)
    yield changed(cudnn, name="CuDNNGRU", becomes="GRU", settings={**fixed, "reset_after": True})
    cell = Row("", Role.CELL, with_bias("kernel", "recurrent_kernel"), module="cells", inputs=CELL_INPUTS)
    yield changed(cell, name="LSTMCell", gates=4)
    yield changed(cell, name="GRUCell", gates=3)
    yield changed(cell, name="SimpleRNNCell")
    yield Row("StackedRNNCells", Role.STACK, no_arrays, module="cells", inputs=CELL_INPUTS)
    yield Row(
        "Bidirectional", Role.BIDIRECTIONAL, no_arrays, SEQUENCES, "wrappers", call=STATES, mask_argument=True,
        wraps=("forward_layer", "backward_layer"),
    )  # fmt: skip
    yield Row(
        "TimeDistributed", Role.DISTRIBUTED, no_arrays, PASSES, "wrappers", any_dtype=True, call=MASKED | {"training"},
        mask_argument=True, wraps=("layer",),
    )  # fmt: skip


def convolutional() -> Iterator[Row]:
    """Windows along time or over images."""
    kernel, depthwise = with_bias("kernel"), with_bias("depthwise_kernel")
    yield from along(
        Row(
            "Conv{}", Role.CONVOLUTION, kernel, module="convolution", aliases=("Convolution{}",), early_names=("AtrousConvolution{}",),
            kernels=1, adapted=True,
        ),
        1, 2, 3,
    )  # fmt: skip
    transposed = Row("Conv{}Transpose", arrays=kernel, module="convolution", aliases=("Convolution{}Transpose",), kernels=1)
    yield from along(transposed, 1, 2, 3, later=(1, 3))
    separable = with_bias("depthwise_kernel", "pointwise_kernel")
    yield from along(Row("SeparableConv{}", arrays=separable, module="convolution", aliases=("SeparableConvolution{}",)), 1, 2)
    yield from along(Row("DepthwiseConv{}", arrays=depthwise, module="convolution"), 1, 2, later=(1,))
    yield from along(Row("LocallyConnected{}", arrays=kernel, module="legacy"), 1, 2)
    yield from along(Row("MaxPooling{}", arrays=no_arrays, module="pooling", aliases=("MaxPool{}",)), 1, 2, 3)
    yield from along(Row("AveragePooling{}", arrays=no_arrays, module="pooling", aliases=("AvgPool{}",)), 1, 2, 3)
    yield from along(Row("GlobalMaxPooling{}", arrays=no_arrays, module="pooling", aliases=("GlobalMaxPool{}",)), 1, 2, 3)
    mean = Row("GlobalAveragePooling{}", arrays=no_arrays, module="pooling", aliases=("GlobalAvgPool{}",))
    yield from along(changed(mean, call=MASKED, mask_argument=True), 1)
    yield from along(mean, 2, 3)
    yield from along(Row("AdaptiveAveragePooling{}", arrays=no_arrays, module="pooling", later=True), 1, 2, 3)
    for name in ("ZeroPadding{}", "Cropping{}", "UpSampling{}"):
        yield from along(Row(name, arrays=no_arrays, module="reshaping"), 1, 2, 3)
    yield from named(Row("", arrays=no_arrays, module="reshaping", later=True), "Resizing", "CenterCrop")


def merging() -> Iterator[Row]:
    """Layers that make one tensor of several."""
    plain = Row("", arrays=no_arrays, mask=UNITES, module="merging")
    yield changed(plain, name="Add", merge_mode="sum")
    yield changed(plain, name="Subtract")
    yield changed(plain, name="Average", merge_mode="ave")
    yield changed(plain, name="Multiply", merge_mode="mul", asks_masks=True)
    yield changed(plain, name="Maximum", merge_mode="max", asks_masks=True)
    yield changed(plain, name="Minimum", asks_masks=True)
    yield Row("Concatenate", arrays=no_arrays, mask=MaskRule.JOINS, module="concatenate", any_dtype=True, merge_mode="concat")
    yield Row("Dot", arrays=no_arrays, module="merging", merge_mode="dot")
    yield Row("MergeCosine", arrays=no_arrays, module="merging", merge_mode="cos")
    yield Row("Merge")  # Keras 1's: its reader makes one of the others of it, by its mode


def attention() -> Iterator[Row]:
    """Layers by which every step of a query weighs the steps of a value."""
    dense = Row("", mask=PASSES, module="attention", later=True, call=SCORES | MASKED, asks_masks=True)
    yield changed(dense, name="Attention", arrays=attention_arrays)
    yield changed(dense, name="AdditiveAttention", arrays=additive_arrays)
    heads = Row(
        "MultiHeadAttention", arrays=heads_arrays, mask=PASSES, module="heads", later=True,
        call=SCORES | ATTENTION_MASKS | {"attention_mask"}, inputs=ATTENTION_INPUTS, asks_masks=True, takes_masks=True, parts=HEADS,
    )  # fmt: skip
    yield heads
    python = "GroupedQueryAttention"  # what .h5 files call it too
    yield changed(heads, name="GroupQueryAttention", aliases=(python,), in_trees=python, takes_masks=False)


def normalization() -> Iterator[Row]:
    """Normalisation, and arithmetic that comes before a model."""
    here, call = "normalization", MASKED | {"training"}
    batch = Row("BatchNormalization", Role.NORMALIZATION, batch_arrays, PASSES, here, mask_argument=True, call=call)
    yield changed(batch, aliases=("BatchNormalizationV1", "BatchNormalizationV2"))
    yield changed(batch, name="SyncBatchNormalization", becomes="BatchNormalization", settings={"synchronized": True})
    yield Row("LayerNormalization", arrays=affine_arrays, mask=PASSES, module=here, later=True)
    yield Row("GroupNormalization", arrays=affine_arrays, mask=PASSES, module=here, later=True)
    yield Row("UnitNormalization", arrays=no_arrays, mask=PASSES, module=here, later=True)
    yield Row("RMSNormalization", arrays=always("scale"), module=here, later=True)
    yield Row(
        "SpectralNormalization", arrays=spectral_arrays, mask=MaskRule.INSIDE, module="wrappers", later=True, wraps=("layer",),
    )  # fmt: skip
    yield Row("Rescaling", arrays=no_arrays, mask=PASSES, module="preprocessing", later=True)
    yield Row("Normalization", arrays=statistics_arrays, mask=PASSES, module="preprocessing", later=True)


def activations() -> Iterator[Row]:
    """Activations that are layers of their own, and layers that Keras has dropped."""
    leaky, plain = LAYERS["LeakyReLU"], Row("", arrays=no_arrays, mask=PASSES, module="advanced_activations")
    yield changed(plain, name="LeakyReLU", renamed=leaky.renamed, defaults=leaky.changed)
    yield from named(plain, "ReLU", "ELU", "ThresholdedReLU")
    yield changed(plain, name="Softmax", mask_argument=True, call=MASKED)
    yield changed(plain, name="PReLU", arrays=always("alpha"))
    dropped = Row("", module="legacy")
    yield changed(dropped, name="ParametricSoftplus", arrays=always("alphas", "betas"), mask=PASSES)
    yield changed(dropped, name="SReLU", arrays=always("t_left", "a_left", "t_right", "a_right"), mask=PASSES)
    yield changed(dropped, name="Highway", arrays=highway_arrays)
    yield changed(dropped, name="MaxoutDense", arrays=with_bias("kernel"), early_renamed=UNITS)


def categories() -> Iterator[Row]:
    """Layers that make ids, or vectors of categories, of text and numbers. What they are called on has no mask that they would pass on."""
    lookup = Row("", Role.LOOKUP, vocabulary_arrays, module="lookups", later=True, tells_trainable=False, any_dtype=True, terms="string")
    yield changed(lookup, name="TextVectorization", module="vectorization", defaults={"mask_token": "", "num_oov_indices": 1})
    yield changed(lookup, name="StringLookup")
    renamed = {"max_values": "max_tokens", "mask_value": "mask_token", "oov_value": "oov_token"}
    yield changed(lookup, name="IntegerLookup", terms="int64", renamed=renamed)
    plain = Row("", Role.CATEGORIES, no_arrays, module="categories", later=True, tells_trainable=False, any_dtype=True)
    yield changed(plain, name="CategoryEncoding", renamed={"max_tokens": "num_tokens"})
    yield changed(plain, name="Discretization", renamed={"bins": "bin_boundaries"})
    yield from named(plain, "Hashing", "HashedCrossing")


def unread() -> Iterator[Row]:
    """Layers that are recognised and refused: their code is in the file."""
    yield Row("Lambda", Role.CODE)


def operations() -> Iterator[Row]:
    """Operations of a graph: the one class that a reader makes of them, and those that generations write."""
    yield Row("Operation", Role.OPERATION, no_arrays, module="operations")
    written = Row("", later=True, tells_trainable=False)
    yield changed(written, name="TFOpLambda", graph_node=GraphNode.FUNCTION)
    yield changed(written, name="SlicingOpLambda", graph_node=GraphNode.FUNCTION)
    yield from named(changed(written, graph_node=GraphNode.METHOD), "ClassMethod", "InstanceMethod", "InstanceProperty")
    yield changed(written, name="TensorFlowOpLayer", graph_node=GraphNode.NODE_DEF)


FAMILIES = (models, core, recurrent, convolutional, merging, attention, normalization, activations, categories, operations, unread)
#: All rows by their classes' canonical names.
ROWS: Mapping[str, Row] = {row.name: row for family in FAMILIES for row in family()}
#: Canonical names by those that any generation may write, and by those that Keras 0 and 1 alone may.
ALIASES: Mapping[str, str] = {alias: row.name for row in ROWS.values() for alias in row.aliases}
EARLY_NAMES: Mapping[str, str] = {alias: row.name for row in ROWS.values() for alias in row.early_names}

#: Classes that readers write themselves, or whose configs they bring to another form.
INPUT_LAYER: Final = "InputLayer"
SEQUENTIAL: Final = "Sequential"
FUNCTIONAL: Final = "Functional"
MODEL: Final = "Model"
OPERATION: Final = "Operation"
CATEGORY_ENCODING: Final = "CategoryEncoding"
DISCRETIZATION: Final = "Discretization"
ACTIVATION: Final = "Activation"
SOFTMAX: Final = "Softmax"
#: What tf.keras puts into a graph for add_loss() and add_metric().
ADDING: Final = ("AddLoss", "AddMetric")
FLATTEN: Final = "Flatten"
STACKED_CELLS: Final = "StackedRNNCells"
#: The prefix that Keras 3's operations are given while a file is read: some share their names with layers.
OF_KERAS3: Final = "Operation>"
#: The layer that each mode of Keras 1's Merge became.
MERGES: Mapping[str, str] = {row.merge_mode: row.name for row in ROWS.values() if row.merge_mode}


def is_random(config: Mapping[str, Any]) -> bool:
    """Does a layer of this config draw random numbers while training?"""
    return any(config.get(rate) for rate in ("rate", "stddev", "dropout", "recurrent_dropout"))


def row_of(name: str) -> Row:
    """The row of a class by its canonical name; an empty one for a class that is not known."""
    found = ROWS.get(name)
    if found is None:
        return Row(name, graph_node=GraphNode.KERAS3 if name.startswith(OF_KERAS3) else None)
    return found


def canonical(name: str) -> str:
    """The canonical name of a class; see ``becomes`` for those that are read as another's."""
    return ALIASES.get(name, name)
