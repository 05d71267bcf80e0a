"""A made-up text of the kinds that students read and write: `eight_bits` balances inputs with weights by it."""

SAMPLE_TOKENS = 256
"""So much of it is read."""
SAMPLE = """\
<|im_start|>system
You are a helpful assistant. Current time: 2026-05-03 14:05.
Orders:
- id: 4711, name: "Anna Berg", total: 35.50 EUR, status: shipped
- id: 4712, name: "Jo Li", total: 7.00 EUR, status: open
<|im_end|>
<|im_start|>user
Please cancel order 4712 and tell me why it's late; my e-mail is jo.li@example.org.<|im_end|>
<|im_start|>assistant
{"name": "cancel_order", "arguments": {"order_id": 4712, "reason": "late", "notify": true, "items": [1, 2]}}<|im_end|>
<|im_start|>user
The weather in the old town was lovely, and nobody knew what would happen next. Write a short poem about it!<|im_end|>
<|im_start|>assistant
Soft rain fell on the roofs of stone,
and every lamp was burning low.<|im_end|>
"""
