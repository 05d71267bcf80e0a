import msgspec

from tutelage.distill.options import ALL_LINEAR, DistillOptions
from tutelage.traffic.scrub_rules import ScrubRules


def test_all_linear_stands_for_the_seven_modules():
    assert DistillOptions(data="d", targets=("all-linear",)).modules == ALL_LINEAR
    assert DistillOptions(data="d").modules == ("q_proj", "v_proj")


def test_options_travel_as_json():
    options = DistillOptions(data="d", targets=("all-linear",), layers_from=20, scrub=ScrubRules(allow=("X.*",)))
    assert msgspec.json.decode(msgspec.json.encode(options), type=DistillOptions) == options
