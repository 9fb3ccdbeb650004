"""What an arm without a model advises."""

import numpy as np

from router.serving import Silence, ask


def test_an_arm_without_a_model_names_the_command_that_gives_it_one():
    silence = ask({}, "mine", np.zeros((1, 18), np.float32))
    assert isinstance(silence, Silence)
    assert "`abctl model promote ID --arm mine`" in silence.why
