"""Writes every type that pyarrow has a writer for, with NULLs and the values at the edges, and says what PostgreSQL must hold then.

    arrow_types.py ddl                            the columns of the table
    arrow_types.py expected                       for each column its values, as PostgreSQL shows them
    arrow_types.py (stream|file) (none|lz4|zstd)  the body
"""

import datetime
import decimal
import json
import sys
import uuid

import pyarrow as pa

D = decimal.Decimal
date, time, moment = datetime.date, datetime.time, datetime.datetime
NS = pa.MonthDayNano
BATCH = 3

# name, PostgreSQL's type, Arrow's type, values, as PostgreSQL shows them
COLUMNS = [
    ("nothing", "int", pa.null(), [None], [None]),
    ("flag", "boolean", pa.bool_(), [True, False, None], ["true", "false", None]),
    ("flag_of_int", "boolean", pa.int8(), [1, 0], ["true", "false"]),
    ("i8", "smallint", pa.int8(), [-128, 127], ["-128", "127"]),
    ("i16", "smallint", pa.int16(), [-32768, 32767], ["-32768", "32767"]),
    ("i32", "integer", pa.int32(), [-(2**31), 2**31 - 1, None], ["-2147483648", "2147483647", None]),
    ("i64", "bigint", pa.int64(), [-(2**63), 2**63 - 1], ["-9223372036854775808", "9223372036854775807"]),
    ("i64_narrow", "smallint", pa.int64(), [-32768, 32767], ["-32768", "32767"]),
    ("u8", "smallint", pa.uint8(), [0, 255], ["0", "255"]),
    ("u16", "integer", pa.uint16(), [65535], ["65535"]),
    ("u32", "bigint", pa.uint32(), [2**32 - 1], ["4294967295"]),
    ("u32_oid", "oid", pa.uint32(), [2**32 - 1, 0], ["4294967295", "0"]),
    ("u64", "numeric", pa.uint64(), [2**64 - 1, 0, None], ["18446744073709551615", "0", None]),
    ("u64_narrow", "bigint", pa.uint64(), [2**63 - 1], ["9223372036854775807"]),
    ("f16", "real", pa.float16(), [0.5, float("inf"), -2.0], ["0.5", "Infinity", "-2"]),
    ("f32", "real", pa.float32(), [0.1, float("nan"), -0.0, 3.4028234663852886e38], ["0.1", "NaN", "-0", "3.4028235e+38"]),
    ("f64", "double precision", pa.float64(), [0.1, 5e-324, float("-inf"), 1e300], ["0.1", "5e-324", "-Infinity", "1e+300"]),
    ("f64_numeric", "numeric", pa.float64(), [0.1, float("nan"), 1e22], ["0.1", "NaN", "10000000000000000000000"]),
    ("f64_real", "real", pa.float64(), [0.5, -2.0**100], ["0.5", "-1.2676506e+30"]),
    ("int_float", "double precision", pa.int64(), [2**53, -1], ["9.007199254740992e+15", "-1"]),
    ("d32", "numeric", pa.decimal32(9, 4), [D("12345.6789"), D("-0.0001")], ["12345.6789", "-0.0001"]),
    ("d64", "numeric(18,2)", pa.decimal64(18, 2), [D("9999999999999999.99")], ["9999999999999999.99"]),
    ("d128", "numeric", pa.decimal128(38, 10), [D("1234567890123456789012345678.0123456789"), D(0)], ["1234567890123456789012345678.0123456789", "0.0000000000"]),
    ("d128_negative", "numeric", pa.decimal128(5, -3), [D("12345000"), D("-1000")], ["12345000", "-1000"]),
    ("d128_int", "bigint", pa.decimal128(38, 2), [D("9223372036854775807.00"), D("-1.00")], ["9223372036854775807", "-1"]),
    ("d256", "numeric", pa.decimal256(76, 38), [D("-" + "9" * 38 + "." + "9" * 38)], ["-" + "9" * 38 + "." + "9" * 38]),
    ("string", "text", pa.string(), ["", "NULL", "\\N", 'zoë "\t\n,'], ["", "NULL", "\\N", 'zoë "\t\n,']),
    ("large", "varchar(3)", pa.large_string(), ["äöü", None, "abc  "], ["äöü", None, "abc"]),
    ("view", "char(3)", pa.string_view(), ["ab", "xyz"], ["ab", "xyz"]),
    ("number_string", "int", pa.string(), ["1", " 2 ", None], ["1", "2", None]),
    ("date_string", "date", pa.string(), ["2024-02-29", "infinity"], ["2024-02-29", "infinity"]),
    ("json_string", "jsonb", pa.string(), ['{"a": 1.50}', "null"], ['{"a": 1.50}', "null"]),
    ("bytes", "bytea", pa.binary(), [b"", b"\x00\xff\\x"], ["\\x", "\\x00ff5c78"]),
    ("large_bytes", "bytea", pa.large_binary(), [b"\\", None], ["\\x5c", None]),
    ("view_bytes", "bytea", pa.binary_view(), [b"a longer run of bytes than a view has room for"], ["\\x" + b"a longer run of bytes than a view has room for".hex()]),
    ("fixed_bytes", "bytea", pa.binary(3), [b"abc"], ["\\x616263"]),
    ("id", "uuid", pa.binary(16), [uuid.UUID(int=1).bytes], ["00000000-0000-0000-0000-000000000001"]),
    ("id_extension", "uuid", pa.uuid(), [uuid.UUID(int=2**128 - 1).bytes, None], ["ffffffff-ffff-ffff-ffff-ffffffffffff", None]),
    ("d", "date", pa.date32(), [date(1, 1, 1), date(9999, 12, 31), -719_163, -2_440_588], ["0001-01-01", "9999-12-31", "0001-12-31 BC", "4714-11-24 BC"]),
    ("d_ms", "date", pa.date64(), [date(1969, 12, 31), date(2024, 2, 29)], ["1969-12-31", "2024-02-29"]),
    ("d_clock", "date", pa.timestamp("ns"), [moment(2024, 2, 29), None], ["2024-02-29", None]),
    ("t_s", "time", pa.time32("s"), [time(23, 59, 59), time(0)], ["23:59:59", "00:00:00"]),
    ("t_ms", "time", pa.time32("ms"), [time(1, 2, 3, 4000)], ["01:02:03.004"]),
    ("t_us", "time", pa.time64("us"), [time(1, 2, 3, 4), None], ["01:02:03.000004", None]),
    ("t_ns", "time", pa.time64("ns"), [time(23, 59, 59, 999_999)], ["23:59:59.999999"]),
    ("ts_s", "timestamp", pa.timestamp("s"), [moment(1969, 12, 31, 23, 59, 59), -210_866_803_200], ["1969-12-31 23:59:59", "4714-11-24 00:00:00 BC"]),
    ("ts_ms", "timestamp", pa.timestamp("ms"), [moment(2024, 2, 29, 1, 2, 3, 4000), -1], ["2024-02-29 01:02:03.004", "1969-12-31 23:59:59.999"]),
    ("ts_us", "timestamp", pa.timestamp("us"), [moment(9999, 12, 31, 23, 59, 59, 999_999), 2**63 - 1], ["9999-12-31 23:59:59.999999", "294247-01-10 04:00:54.775807"]),
    ("ts_ns", "timestamp", pa.timestamp("ns"), [moment(2024, 2, 29, 1, 2, 3, 4), None], ["2024-02-29 01:02:03.000004", None]),
    ("ts_date", "timestamp", pa.date32(), [date(2024, 2, 29)], ["2024-02-29 00:00:00"]),
    ("tz_s", "timestamptz", pa.timestamp("s", "UTC"), [0, -62_135_596_801], ["1970-01-01 00:00:00+00", "0001-12-31 23:59:59+00 BC"]),
    ("tz_us", "timestamptz", pa.timestamp("us", "America/New_York"), [1], ["1970-01-01 00:00:00.000001+00"]),
    ("tz_ns", "timestamptz", pa.timestamp("ns", "+05:30"), [1000, None], ["1970-01-01 00:00:00.000001+00", None]),
    ("wait_s", "interval", pa.duration("s"), [86_401, -1], ["24:00:01", "-00:00:01"]),
    ("wait_ms", "interval", pa.duration("ms"), [1], ["00:00:00.001"]),
    ("wait_us", "interval", pa.duration("us"), [2**63 - 1, -(2**63)], ["2562047788:00:54.775807", "-2562047788:00:54.775808"]),
    ("wait_ns", "interval", pa.duration("ns"), [-1000, None], ["-00:00:00.000001", None]),
    ("span", "interval", pa.month_day_nano_interval(), [NS([-14, 3, 4_000_001_000]), NS([0, -1, -1000])], ["-1 years -2 mons +3 days 00:00:04.000001", "-1 days -00:00:00.000001"]),
    ("kind", "text", pa.dictionary(pa.int8(), pa.string()), ["red", None, "red", "blue"], ["red", None, "red", "blue"]),
    ("kind_date", "date", pa.dictionary(pa.uint16(), pa.date32()), [date(2024, 1, 1), None], ["2024-01-01", None]),
    ("ints", "int[]", pa.list_(pa.int32()), [[1, None, 3], [], None], ["{1,NULL,3}", "{}", None]),
    ("words", "text[]", pa.large_list(pa.string()), [["", "NULL", 'a"b\\c', "{,}"], [None]], ['{"","NULL","a\\"b\\\\c","{,}"}', "{NULL}"]),
    ("pairs", "float8[]", pa.list_(pa.float64(), 2), [[0.1, float("nan")], [1.0, None]], ["{0.1,NaN}", "{1,NULL}"]),
    ("list_view", "bigint[]", pa.list_view(pa.int64()), [[1, 2], None, []], ["{1,2}", None, "{}"]),
    ("large_list_view", "date[]", pa.large_list_view(pa.string()), [["2024-01-01", "epoch"]], ["{2024-01-01,1970-01-01}"]),
    ("matrix", "int[]", pa.list_(pa.list_(pa.int16())), [[[1, 2], [3, None]], []], ["{{1,2},{3,NULL}}", "{}"]),
    ("moments", "timestamptz[]", pa.list_(pa.timestamp("us", "UTC")), [[0, None]], ['{"1970-01-01 00:00:00+00",NULL}']),
    ("blobs", "bytea[]", pa.list_(pa.binary()), [[b"\\", b""]], ['{"\\\\x5c","\\\\x"}']),
    ("point", "spot", pa.struct([("label", pa.string()), ("x", pa.int64())]), [{"x": 1, "label": 'a "b", c'}, {"x": None, "label": ""}, None], ['(1,"a ""b"", c",)', '(,"",)', None]),
    ("points", "spot[]", pa.list_(pa.struct([("x", pa.int32()), ("at", pa.date32())])), [[{"x": 1, "at": date(2024, 1, 1)}, None]], ['{"(1,,2024-01-01)",NULL}']),
    ("nested", "route", pa.struct([("stops", pa.list_(pa.struct([("x", pa.int8())]))), ("name", pa.string())]), [{"stops": [{"x": 1}, {"x": 2}], "name": "n"}], ['(n,"{""(1,,)"",""(2,,)""}")']),
    ("dict", "hstore", pa.map_(pa.string(), pa.string()), [[("a", 'x"\\'), ("b", None)], []], ['"a"=>"x\\"\\\\", "b"=>NULL', ""]),
    ("json_struct", "jsonb", pa.struct([("n", pa.decimal128(20, 3)), ("s", pa.string()), ("l", pa.list_(pa.float64()))]), [{"n": D("12345678901234567.100"), "s": 'q"\\\n\x01é', "l": [0.1, None, 1e300]}, {"n": None, "s": None, "l": []}], ['{"l": [0.1, null, 1' + "0" * 300 + '], "n": 12345678901234567.100, "s": "q\\"\\\\\\n\\u0001é"}', '{"l": [], "n": null, "s": null}']),
    ("json_map", "json", pa.map_(pa.string(), pa.uint64()), [[("a", 2**64 - 1), ("b", None)], None], ['{"a":18446744073709551615,"b":null}', None]),
    ("json_list", "json", pa.list_(pa.timestamp("us", "UTC")), [[0, 1, None]], ['["1970-01-01T00:00:00+00:00","1970-01-01T00:00:00.000001+00:00",null]']),
    ("json_clock", "json", pa.struct([("d", pa.date32()), ("t", pa.time64("us")), ("b", pa.bool_())]), [{"d": -719_163, "t": time(1, 2), "b": True}], ['{"d":"0001-12-31 BC","t":"01:02:00","b":true}']),
    ("json_int", "jsonb", pa.int64(), [2**63 - 1, None], ["9223372036854775807", None]),
]

TYPES = "CREATE TYPE spot AS (x int, label text, at date); CREATE TYPE route AS (name text, stops spot[]);"

ROWS = 2 * max(len(values) for _, _, _, values, _ in COLUMNS)


def filled(values):
    """The values, repeated with a NULL in between, as many as there are rows."""
    cycle = values + [None]
    return [cycle[row % len(cycle)] for row in range(ROWS)]


def array(arrow, values):
    if isinstance(arrow, pa.ExtensionType):
        return pa.ExtensionArray.from_storage(arrow, array(arrow.storage_type, values))
    if pa.types.is_dictionary(arrow):
        # A NULL in the values beside the ones in the indices.
        distinct = [None] + sorted({value for value in values if value is not None})
        indices = [distinct.index(value) if row % 2 or value is not None else None for row, value in enumerate(values)]
        return pa.DictionaryArray.from_arrays(pa.array(indices, arrow.index_type), pa.array(distinct, arrow.value_type))
    return pa.array(values, arrow)


def body(container, compression):
    columns = {name: array(arrow, filled(values)) for name, _, arrow, values, _ in COLUMNS}
    columns["nr"] = pa.array(range(ROWS))
    # Three runs, of which the middle one is NULL; sliced, so that the first begins before the array does.
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([4, 6, ROWS + 2], pa.int32()), pa.array(["one", None, "two"]))
    columns["runs"] = runs.slice(2)
    table = pa.table(columns)
    table = table.replace_schema_metadata({"pandas": "what nobody here reads", "x" * 300: "y"})
    options = pa.ipc.IpcWriteOptions(compression=None if compression == "none" else compression)
    new = pa.ipc.new_stream if container == "stream" else pa.ipc.new_file
    with new(sys.stdout.buffer, table.schema, options=options) as writer:
        nothing = table.to_batches()[0].slice(0, 0)
        writer.write_batch(nothing)
        writer.write_table(table, max_chunksize=BATCH)
        writer.write_batch(nothing)


if sys.argv[1] == "ddl":
    columns = "".join(f'"{name}" {postgres}, ' for name, postgres, *_ in COLUMNS)
    print(f"{TYPES} CREATE TABLE t ({columns}runs text, nr int)")
elif sys.argv[1] == "expected":
    expected = {name: filled(shown) for name, *_, shown in COLUMNS}
    expected["runs"] = ["one", "one", None, None] + ["two"] * (ROWS - 4)
    print(json.dumps(expected))
else:
    body(sys.argv[1], sys.argv[2])
