"""The Keras that saved a file, and what it meant where the config does not say.

=================================  ===============================================  ============================================
difference                         meaning by generation                            held by test_...
=================================  ===============================================  ============================================
hard_sigmoid                       clip(0.2 x + 0.5, 0, 1); Keras 3: relu6(x + 3)   hard_sigmoid_by_generation
                                   / 6
recurrent_activation, absent       hard_sigmoid; Keras 2.3, tf.keras 2, Keras 3:    sequential_as_a_list_has_the_older_defaults
                                   sigmoid
GRU reset_after, absent            False (bias of shape (2, 3 units): True)         reset_after_is_told_by_the_bias
slope of leaky relu, absent        0.3 as a layer; 0.2 as an activation             canonical
masked head with a state           the state up to 2.2.4 and tf.keras 1.12 (not     masked_outputs_with_a_state
                                   on Theano); zeros later
Bidirectional, masked steps        repeated in multi-backend Keras and tf.keras     bidirectional_masked_steps_by_generation
                                   1.5-1.12; zeros later, but TensorFlow 2.0 and
                                   2.1 repeat in LSTM/GRU of the fused kind
... around a ConvLSTM              repeated; zeros in Keras 3                       convlstm_in_both_directions_with_a_mask
Bidirectional, last step masked    the state; TensorFlow 1.13: zeros                last_output_of_bidirectional_with_a_mask
initial_state given as a tensor    Keras 3 then ignores the mask                    mask_beside_an_initial_state
mask of Add, Multiply, ...         AND; Keras 3.0-3.3: none; Keras 3.4 on: OR       merge_masks_by_generation
stacked cells, masked steps        2.2.3, 2.2.4, tf.keras 1.11, 1.12: the first     masked_steps_of_stacked_cells
                                   cell's state; else the last output
stacked cells, order of states     last cell first up to 2.2.2 and tf.keras 1.10;   stacked_cells_are_stacked_layers
                                   first first later
mask made in TimeDistributed       reaches the next layer in 2.2, 2.3 and           time_distributed_mask_from_inside
                                   tf.keras from 1.10 on; not before, nor in
                                   Keras 3
... with a fixed batch size        only from tf.keras 2.2 on                        time_distributed_with_a_fixed_batch_size
mask of a layer inside it          not given up to 2.1.6 and tf.keras 1.9; with a   time_distributed_with_a_fixed_batch_size
                                   fixed batch size not up to 2.3 and tf.keras
                                   1.13, nor to LSTM and GRU up to 1.15
ids that are no whole numbers      compared with 0 as given, unless their Input     float_ids_by_generation
                                   declares int32: the model's own up to tf.keras
                                   2.1, later those of nested models too
Activation("linear") and           drop masks in TensorFlow 1.4 to 1.13; pass them  masks_of_layers_that_change_nothing
ActivityRegularization             elsewhere
masks of nested models             stay inside in TensorFlow 1.11 to 1.13           masks_of_nested_models
states carried by predict          from call to call; not by Keras 3 on JAX         rules_of_a_generation
... inside Bidirectional           not from Keras 2.1.4 to 2.3 and tf.keras 1.7     bidirectional_splits_initial_states
                                   to 1.15, yes elsewhere
stateful, given initial_state      starts from it in each call; TensorFlow 2.1 on:  state_that_stateful_layers_start_from
                                   only while its recorded state is all zeros
masks of MultiHeadAttention        ignored and dropped up to tf.keras 2.9;          rules_of_a_generation
                                   honoured and passed later
masks of what it has read          stay; from Keras 3.8 on gone for attention and   masks_that_attention_takes
                                   merges that read the same tensors later
MultiHeadAttention seeing nothing  the mean of all values; with dropout from        rules_of_a_generation
                                   Keras 3.14 on zeros
training=True in a graph           as training has it; predict of Keras 3 ignores   training_means_nothing_to_predict_of_keras_3
                                   it
... BatchNormalization, frozen     the moving statistics from TensorFlow 2 on;      what_is_frozen_goes_by_its_moving_statistics
                                   those of the batch before
... and masked steps               count; from tf.keras 2.12 on they do not         masked_steps_count_by_generation
stateful layers in                 forget between steps up to 2.3 and TensorFlow    states_in_time_distributed_by_generation
TimeDistributed                    1; carry their state in tf.keras from 2.3 on,
                                   where the first step runs twice, and Keras 3
mask of Softmax, the layer         ignored up to tf.keras 2.4; read later           masked_softmax_by_generation
numbers of a mask that is given    weigh: in GlobalAveragePooling1D and Attention     numbers_of_masks_by_generation
                                   up to Keras 3.14, in Softmax up to 3.12
mask of Rescaling, Normalization   dropped; passed by Keras 3                       rules_of_a_generation
"bilinear" of UpSampling2D         pixels' first corners meet up to Keras 2.3 and   rules_of_a_generation
                                   TensorFlow 1; their centres are aligned later
Bidirectional, backward layer      the opposite direction; Keras 3: always          backward_layer_by_generation
                                   backwards
convolution kernels                files of backend theano hold them flipped        theano_kernels_are_turned
convolutions padded "same"         on Theano half the window in front               theano_pads_half_a_window_in_front
nodes of nested models             numbered from 1 if the model has a node of its   nested_models_number_their_calls_from_0_or_1
                                   own, else from 0
cells of RNN                       Keras 2.0-2.1.2 saved no arguments: units from   cells_without_arguments
                                   the weights
arrays of BatchNormalization       beta first in tf.contrib.keras; else gamma       batchnormalization_by_generation
gates of LSTM and GRU              Keras 0 and 1 keep each gate's arrays apart,     keras1_gates
                                   LSTM's as i c f o
=================================  ===============================================  ============================================

All of them together are held by the recordings of every generation (``tests/corpus/test_golden.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...catalogue import SEQUENTIAL
from ...spec import Evaluation, Generation, Rules
from .keras1 import is_keras1


class Dialect(NamedTuple):
    """How a file is to be understood."""

    generation: Generation
    rules: Rules
    keras3: bool  # Keras 3's activations, and its graphs of args and kwargs
    multi_backend: bool  # the Keras before tf.keras: it lacked many of today's layers
    recurrent_activation: str  # where the config lacks it
    backward_always: bool  # the implied backward layer runs backwards even when the forward one does too
    fused_repeats: bool  # in a Bidirectional only LSTM and GRU of the fused kind repeat outputs at masked steps
    theano: bool  # convolution kernels are stored flipped, and "same" pads differently
    keras1: bool = False  # arrays in the layout of Keras 1
    keras0: bool = False  # ... and what Keras 0 did differently (see ``weights``)
    beta_first: bool = False  # BatchNormalization keeps beta before gamma
    frozen_by_batch: bool = False  # called with training=True, it normalises by each batch even where it is not trainable


def version_numbers(version: str) -> tuple[int, ...]:
    """(2, 2, 4) of "2.2.4-tf"."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("-")[0])[:3])


def dialect(
    version: str | None, backend: str | None, config: Mapping[str, Any], file_kind: str, training: str | None = None,
    tensorflow: tuple[int, ...] = (),
) -> Dialect:  # fmt: skip
    """The dialect of a file.

    Parameters
    ----------
    version, backend
        The file's ``keras_version`` and ``backend`` attributes, None where it has none.
    config
        The model's config, for what the version does not tell.
    file_kind
        For people: "HDF5 model", ...
    training
        The file's ``training_config``, None where it has none.
    tensorflow
        The version of the TensorFlow that wrote the file; empty where it does not say.
    """
    version, backend = version or "", backend or ""
    numbers = version_numbers(version) or guessed(config)
    if numbers >= (3,):
        return keras3(version, backend, numbers, file_kind)
    if numbers < (2,):
        return keras1(Generation("Keras", version, backend, file_kind), numbers)
    inside = "-tf" in version or numbers >= (2, 4)
    generation = Generation("tf.keras" if inside else "Keras", version, backend, file_kind)
    if inside:
        return tf_keras(generation, numbers, config, training, tensorflow)
    return multi_backend(generation, numbers)


def guessed(config: Mapping[str, Any]) -> tuple[int, ...]:
    """A version for files that record none, from the form of their config."""
    if is_keras1(config):
        return (1, 0) if "class_name" in config else (0, 3)
    text = repr(config)
    if "'DTypePolicy'" in text:
        return (3, 4)
    if "'keras_history'" in text or "'batch_shape'" in text:
        return (3, 0)
    if "'Functional'" in text or "'time_major'" in text or "'ragged'" in text:
        return (2, 4)
    return (2, 2, 4)


def keras3(version: str, backend: str, numbers: tuple[int, ...], file_kind: str) -> Dialect:
    """Keras 3."""
    rules = Rules(
        head_output="zeros", bidirectional_masked_output="zeros", mask_with_initial_state=False,
        merge_mask="none" if numbers < (3, 4) else "or", stacked_masked_output="last", time_distributed_inner_mask=False,
        carries_state=backend != "jax", blind_attention="mean" if numbers < (3, 14) else "zeros", preprocessing_masks=True,
        attention_takes_masks=numbers >= (3, 8), softmax_reads_mask=True, time_distributed_states="carried",
        masks_weigh=numbers < (3, 15), heads_mask_weighs=numbers < (3, 7),
        softmax_mask="half" if numbers >= (3, 13) else "weighs", evaluation=evaluation(numbers),
    )  # fmt: skip
    return Dialect(Generation("Keras", version, backend, file_kind), rules, True, False, "sigmoid", True, False, False)


def keras1(generation: Generation, numbers: tuple[int, ...]) -> Dialect:
    """Keras 0 and 1, which record no backend: the names of their arrays tell (see ``h5.told_backend``)."""
    understood = multi_backend(generation, numbers)
    return understood._replace(keras1=True, keras0=numbers < (1,))


def multi_backend(generation: Generation, numbers: tuple[int, ...]) -> Dialect:
    """Keras 2.0 to 2.3."""
    theano = generation.backend == "theano"  # its loops emit what was emitted before, never a state
    rules = Rules(
        head_output="zeros" if numbers >= (2, 2, 5) or theano else "state", bidirectional_masked_output="repeat",
        stacked_masked_output="first" if (2, 2, 3) <= numbers < (2, 2, 5) and not theano else "last",
        stacked_state_order="forward" if numbers >= (2, 2, 3) else "reversed",
        bidirectional_carries_state=numbers < (2, 1, 4), input_cast="fed", convolutional_zeros=False, time_distributed_states="none",
        bilinear_places="unknown" if theano else "corners", evaluation=evaluation(numbers),
        **time_distributed(from_inside=numbers >= (2, 2), loops="all"),
    )  # fmt: skip
    default = "sigmoid" if numbers >= (2, 3) else "hard_sigmoid"
    return Dialect(generation, rules, False, True, default, False, False, theano, frozen_by_batch=True)


def tf_keras(
    generation: Generation, numbers: tuple[int, ...], config: Mapping[str, Any], training: str | None, tensorflow: tuple[int, ...]
) -> Dialect:  # fmt: skip
    """The Keras inside TensorFlow, and tf_keras."""
    # TensorFlow 1.13 to 2.1 all call themselves 2.2.4-tf. Up to 1.15 initializers record their dtype, from 2.0 on they do not.
    older = tensorflow < (2,) if tensorflow else records_initializer_dtype(config)
    first = numbers < (2, 2, 4) or (numbers == (2, 2, 4) and older)
    early = numbers < (2, 2, 4)  # up to TensorFlow 1.12
    fused_repeats = not first and numbers < (2, 3)  # TensorFlow 2.0 and 2.1
    since_2_1 = not first and not (fused_repeats and (tensorflow < (2, 1) if tensorflow else lacks_ragged(config)))
    # TensorFlow 1.9 to 1.12 all call themselves 2.1.6-tf. The first two write a Sequential model as a bare list, as all before;
    # nothing tells them apart, and 1.9 alone has TimeDistributed as before.
    newer = numbers == (2, 1, 6) and not lists_layers(config)
    natural = not early or newer
    since_1_14 = tensorflow >= (1, 14) if tensorflow else told_1_14(config, training)
    rules = Rules(
        head_output="state" if early else "zeros", bidirectional_masked_output="repeat" if early or fused_repeats else "zeros",
        stacked_masked_output="first" if early and natural else "last", stacked_state_order="forward" if natural else "reversed",
        identity_masks=since_1_14 if first and not early else not early or numbers < (2, 0, 8),
        nested_masks=since_1_14 if first and not early else not newer, relu_masks=numbers >= (2, 5),
        bidirectional_carries_state=not first or numbers < (2, 1, 4), attention_masks=numbers >= (2, 10),
        recorded_state_wins=since_2_1, softmax_reads_mask=numbers >= (2, 5), input_cast="called" if numbers >= (2, 3) else "fed",
        convolutional_zeros=False, batch_statistics_mask=numbers >= (2, 12),
        time_distributed_states="none" if first else "first_twice" if numbers >= (2, 3) else "unknown",
        bilinear_places="corners" if first else "centres",
        evaluation="tf1_13" if first and not early and since_1_14 is False else evaluation(numbers, tensorflow=True, first=first),
        **time_distributed(
            from_inside=numbers >= (2, 1, 6), fixed_too=numbers >= (2, 3), loop_masks=since_2_1,
            loops="all" if early or (first and lacks_ragged(config)) else "lstm" if first else "own",
        ),
    )  # fmt: skip
    beta_first = numbers < (2, 0, 8)  # up to TensorFlow 1.3
    default = "hard_sigmoid" if first else "sigmoid"
    return Dialect(
        generation, rules, False, False, default, False, fused_repeats, False, beta_first=beta_first, frozen_by_batch=first
    )  # fmt: skip


def evaluation(numbers: tuple[int, ...], *, tensorflow: bool = False, first: bool = False) -> Evaluation:
    """How a version evaluates (see ``evaluation/counting.py``); ``first``: TensorFlow 1."""
    steps: dict[tuple[int, ...], Evaluation] = {
        (3, 14): "keras3_activities", (3, 12): "keras3_masks", (3, 5): "keras3", (3, 2): "keras3_early", (3,): "keras3_batches",
        (2, 14): "valid_softmax", (2, 11): "valid",
        (2, 4): "elements",
    }  # fmt: skip
    for since, found in steps.items():
        if numbers >= since:
            return found
    if tensorflow and numbers >= (2, 2, 4):
        return "tf1" if first else "unmasked_metrics" if numbers >= (2, 3) else "tf2"
    if tensorflow and numbers >= (2, 1, 6):
        return "sums_of_weights"
    if not tensorflow and numbers >= (2, 3):
        return "keras2_3"
    return "keras2" if numbers >= (2,) else "keras1"


def evaluation_of(generation: Generation) -> Evaluation:
    """The same for files of ours that were written before evaluation was known."""
    tensorflow = generation.library == "tf.keras"
    return evaluation(version_numbers(generation.version) or (2, 2, 4), tensorflow=tensorflow)


def time_distributed(*, from_inside: bool, loops: str, fixed_too: bool = False, loop_masks: bool = False) -> dict[str, Any]:
    """The rules of TimeDistributed before Keras 3: with a fixed batch size it may go from step to step."""
    return {
        "time_distributed_inner_mask": from_inside, "time_distributed_fixed_inner_mask": fixed_too,
        "time_distributed_passes_mask": from_inside, "time_distributed_loops": loops, "time_distributed_loop_repeats": loop_masks,
    }  # fmt: skip


def lacks_ragged(config: Mapping[str, Any]) -> bool:
    """Whether the InputLayers of a config do not say if they are ragged, as TensorFlow 1.15 and 2.1 have them, not 1.13, 1.14 and 2.0."""
    text = repr(config)
    return "'InputLayer'" in text and "'ragged'" not in text


def told_1_14(config: Mapping[str, Any], training: str | None) -> bool | None:
    """Whether TensorFlow 1.14 or 1.15 wrote a model that they or 1.13 wrote; None where 1.13 or 1.14 did, and nothing tells.

    The optimizers of 1.13 have an "lr", those of 1.14 a "learning_rate"; and the layers in a Bidirectional of 1.13 another argument.
    A model without InputLayers may be of any of the three. It is taken for one of the later ones.
    """
    text = repr(config)
    if "'zero_output_for_mask'" in text:
        return False
    if "'ragged'" in text:
        return True
    rates = re.findall('"(lr|learning_rate)":', training or "")
    if rates:
        return rates[0] == "learning_rate"
    return None if lacks_ragged(config) else True


def lists_layers(config: Any) -> bool:
    """Whether any Sequential model of a config is a bare list of its layers."""
    if isinstance(config, Mapping):
        if config.get("class_name") == SEQUENTIAL and isinstance(config.get("config"), list):
            return True
        return any(lists_layers(value) for value in config.values())
    return isinstance(config, list) and any(lists_layers(item) for item in config)


def records_initializer_dtype(config: Any) -> bool:
    """Whether any initializer of a config records a dtype. With no initializer at all, the older reading is taken."""
    found = list(initializers(config))
    return not found or any("dtype" in settings for settings in found)


def initializers(config: Any) -> list[Mapping[str, Any]]:
    """The settings of every initializer in a config."""
    found: list[Mapping[str, Any]] = []
    if isinstance(config, Mapping):
        for key, value in config.items():
            if isinstance(key, str) and key.endswith("_initializer") and isinstance(value, Mapping):
                settings = value.get("config")
                found.append(settings if isinstance(settings, Mapping) else {})
            else:
                found += initializers(value)
    elif isinstance(config, list):
        for item in config:
            found += initializers(item)
    return found
