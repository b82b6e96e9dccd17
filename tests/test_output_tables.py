"""What was measured as tables: the outputs, the quantizers, the activations of one layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from measured_for_tests import compare_measured, make_outputs

from playground.utils.parameter_inspector import OutputLoss
from playground.utils.tables import output_tables


def test_an_output_has_its_level_and_its_worst_sample():
    (row,) = output_tables.create_output_table(make_outputs()).to_dict("records")
    # 20 over 5 are 6 dB; sample 1 has 10 over 4.
    assert row == {
        "Output": "y",
        "SQNR": "6.0 dB",
        "Worst sample": "sample 1 (counted from 0): 4.0 dB",
    }


def test_accuracy_agreement_and_channels_have_columns_where_they_are_known():
    loss = OutputLoss(
        "scores",
        np.array([1.0]),
        np.array([100.0]),
        channel_noise=np.array([1.0, 0.5]),
        channel_signal=np.array([1000.0, 5.0]),
        agreement=0.75,
        accuracy=0.5,
        float_accuracy=0.875,
    )
    (row,) = output_tables.create_output_table(make_outputs(losses=(loss,))).to_dict("records")
    assert row == {
        "Output": "scores",
        "SQNR": "20.0 dB",
        "Worst channel": "channel 1: 10.0 dB",
        "Same answer as float": "75%",
        "Accuracy": "50%",
        "Accuracy of float": "88%",
    }


def test_each_quantizer_has_its_share_and_what_it_gave_back():
    outputs = make_outputs()
    worst = replace(outputs.groups[0], restored_db=2.5)
    second = replace(outputs.groups[1], restored_db=0.1)
    table = output_tables.create_share_table(
        replace(outputs, groups=(worst, second, *outputs.groups[2:]))
    )
    assert table["Quantizer"].tolist()[-1] == "the weight of conv"
    assert table["Share"].tolist() == ["50%", "25%", "15%", "10%"]
    assert table["Output with it alone"][0] == "10.0 dB"
    # What another set of samples would not repeat has no number.
    assert table["Gained when it is off"].tolist() == ["+2.5 dB", "nothing sure", "–", "–"]


def test_an_activation_has_what_flowed_beside_what_its_scale_holds():
    row, _ = output_tables.create_activation_table(compare_measured(), "conv").to_dict("records")
    assert row == {
        "Activation": "INT8, input",
        "Share": "50%",
        "SQNR here": "24.5 dB",
        "with all before": "19.2 dB",
        "Seen": "−60 to 70, 99.9% within ±40",
        "Held": "−50 to 77.5",
        "Clipped": "2.50%",
        "Codes used": "75%",
        "Tensor": "x",
    }


def test_a_layer_without_activations_has_no_row():
    assert len(output_tables.create_activation_table(compare_measured(), "none")) == 0


def test_where_nothing_flowed_yet_only_the_share_is_known():
    table = output_tables.create_activation_table(compare_measured(statistics=None), "abs")
    assert list(table.columns) == ["Activation", "Share", "Tensor"]
    assert table["Share"].tolist() == ["25%", "15%"]
