import pytest

from tutelage.distill.detect import Detector, presidio_detector
from tutelage.distill.findings import Finding


@pytest.fixture(scope="module")
def detector() -> Detector:
    return presidio_detector()[0]


def found(detector: Detector, text: str, name: str = "") -> list[tuple[str, str]]:
    return [(item.kind, text[item.start : item.end]) for item in detector.find(text, name)]


def test_personal_values_are_found(detector: Detector):
    assert found(detector, "mail anna.keller@example.org now") == [("EMAIL_ADDRESS", "anna.keller@example.org")]
    assert found(detector, "call +1 415-555-2671 or (212) 555-0188") == [
        ("PHONE_NUMBER", "+1 415-555-2671"),
        ("PHONE_NUMBER", "(212) 555-0188"),
    ]
    assert found(detector, "card 4111 1111 1111 1111") == [("CREDIT_CARD", "4111 1111 1111 1111")]
    assert found(detector, "IBAN DE89370400440532013000") == [("IBAN_CODE", "DE89370400440532013000")]
    assert found(detector, "my SSN is 536-90-4399") == [("US_SSN", "536-90-4399")]
    assert found(detector, "from 10.0.0.1") == [("IP_ADDRESS", "10.0.0.1")]


@pytest.mark.parametrize(
    "text",
    [
        "order #W1234567 and ORD-4711",
        "Any news on PE-25455? No rush.",
        "#W1234567890 was shipped",
        "2024-08-11 12:23:05 at 21.5 degrees",
        "id 1234567890, 4829310 of 9988776655",
        "see https://shop.example/items/4829310?page=2",
        "8f14e45f-ceea-467f-a9b5-1f3c9d2b7a10",
        "reservation EHGLP3, flight HAT001",
    ],
)
def test_business_values_are_not(detector: Detector, text: str):
    assert found(detector, text) == []


def test_bare_digits_are_a_phone_number_only_where_the_field_says_so(detector: Detector):
    assert found(detector, "2125550188", "order_id") == []
    assert found(detector, "2125550188", "phone_number") == [("PHONE_NUMBER", "2125550188")]
    assert found(detector, "phone: 2125550188") == [("PHONE_NUMBER", "2125550188")]


def test_allowed_values_are_left():
    detector, _ = presidio_detector((r".*@shop\.example",))
    assert found(detector, "write to help@shop.example or a.b@gmail.com") == [("EMAIL_ADDRESS", "a.b@gmail.com")]


def test_overlaps_are_settled_by_kind_then_length():
    def recognise(text: str) -> list[Finding]:
        return [Finding("PERSON", 0, 4, 0.9), Finding("EMAIL_ADDRESS", 0, len(text), 0.6)]

    assert found(Detector([recognise]), "anna@firma.de") == [("EMAIL_ADDRESS", "anna@firma.de")]
