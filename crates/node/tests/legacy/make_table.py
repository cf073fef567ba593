"""Writes python.jsonl: JSON texts, each with what the real Python makes of it.

Run with Python 3.11 or later: python3 make_table.py > python.jsonl
"""

import json
import random
import struct
import sys

random.seed(2026)
given = [
    '{"b": 1, "a": [true, false, null], "\\u00e9": {"\\ud83d\\ude00": 1, "\\uffff": 2}}',
    '"\\ud83d\\ude00 \\ud83d \\ude00 \\ud83d\\ud83d\\ude00 \\ude00\\ud83d"',
    '{"\\ud83d": 1, "\\ude00": 2, "\\uffff": 3, "\\ud83d\\ude00": 4, "z": 5}',
    '"\\u0000\\u0007\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\\u0080\\/ \\" \\\\"',
    '"\u00e1\u2603\U0001f600\u007f\u2028"',
    ' [ ] ', '{}', '[[], {}, [{}]]', 'NaN', '-Infinity', 'Infinity', '-0', '0', '-0.0', '0.0', '1', '1.0', '-1',
    '1e5', '1E+5', '1e-5', '0.0001', '0.00001', '1e15', '1e16', '1e17', '123456789012345678', '12345678901234567.0',
    '1e22', '1e23', '5e-324', '4.9e-324', '2e-324', '1.7976931348623157e308', '1.7976931348623159e308', '1e309',
    '0.1', '0.2', '0.30000000000000004', '0.6333333333333333', '0.63333333333333330', '2.675', '1e-7', '1.5e300',
    '9007199254740993.0', '9007199254740992', '2.2250738585072011e-308', '0.500', '100', '100.00', '9' * 400,
    '-' + '1234567890' * 20, '0.' + '1' * 50, '1' * 50 + '.0', '1' * 17 + 'e-10', '0e10', '0.0e-10', '-0e0',
]
for _ in range(1500):
    double = struct.unpack('<d', random.randbytes(8))[0]
    given.append(json.dumps(double))
for power in range(-1074, 1024, 3):
    given.append(json.dumps(2.0 ** power))
for _ in range(500):
    # Halfway between two decimals.
    given.append(json.dumps(random.randint(2**50, 2**51) + random.choice([0.25, 0.5, 0.75])))
    given.append(f'{random.uniform(0, 1):.{random.randint(1, 25)}f}')
    given.append(f'{random.randint(1, 10**random.randint(1, 18))}e{random.randint(-30, 30)}')


def text():
    alphabet = 'ab"\\/\n\t\x1f\x7f\x80\u00e9\u0100\u2603\ud7ff\ue000\uffff\U00010000\U0001f600\U0010ffff'
    return ''.join(random.choice(alphabet) for _ in range(random.randint(0, 6)))


def value(depth):
    kind = random.randint(0, 6 if depth else 4)
    if kind == 5:
        return [value(depth - 1) for _ in range(random.randint(0, 4))]
    if kind == 6:
        return {text(): value(depth - 1) for _ in range(random.randint(0, 5))}
    return [None, True, random.randint(-10**20, 10**20), random.gauss(0, 1000), text()][kind]


for _ in range(500):
    made = value(4)
    given.append(json.dumps(made, ensure_ascii=random.random() < 0.5, indent=random.choice([None, 1])).replace('\x7f', '\\u007f'))

for source in given:
    printed = json.dumps(json.loads(source), sort_keys=True)
    sys.stdout.write(json.dumps({"given": source, "printed": printed}) + '\n')
