//! Enums, domains, composites, ranges, multiranges, and arrays of what has no family of its own.

use proptest::prelude::*;

use super::super::generated::{Texts, any_of, chain, multirange_of, ordered, range_of, re, row_of, word};
use super::{Case, with_array};

/// The types that these cases are of.
pub(in super::super) const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'schön', 'with space', 'with,comma', 'with\"quote', 'with''quote', 'with\\backslash',
        '{brace}', '(paren)', 'NULL', '', '日本語', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa');
    CREATE TYPE \"Mixed Case\" AS ENUM ('a', 'A');
    CREATE DOMAIN small_positive AS integer CHECK (VALUE BETWEEN 1 AND 100);
    CREATE DOMAIN never_null AS integer NOT NULL;
    CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> 'bad');
    CREATE DOMAIN fixed AS char(4);
    CREATE DOMAIN price AS numeric(8,2) CHECK (VALUE >= 0);
    CREATE DOMAIN zip AS text CHECK (VALUE ~ '^[0-9]{5}$');
    CREATE DOMAIN good_mood AS mood CHECK (VALUE <> 'sad');
    CREATE DOMAIN few AS integer[] CHECK (cardinality(VALUE) <= 3);
    CREATE DOMAIN cents AS price CHECK (VALUE < 1000) NOT NULL;
    CREATE DOMAIN moment AS timestamp(3);
    CREATE DOMAIN with_default AS integer DEFAULT 7 CHECK (VALUE <> 13);
    CREATE TYPE pair AS (a integer, b text);
    CREATE TYPE nested AS (n integer, p pair);
    CREATE TYPE with_array AS (n numeric(10,2), list integer[], m mood, d date);
    CREATE TYPE of_domains AS (n small_positive, z zip);
    CREATE TYPE typed AS (c char(3), v varchar(3), t time(0), b bytea);
    CREATE TYPE single AS (v text);
    CREATE TYPE nothing AS ();
    CREATE DOMAIN positive_pair AS pair CHECK ((VALUE).a > 0);
    CREATE TYPE text_range AS RANGE (subtype = text, collation = \"C\");
    CREATE TYPE float_range AS RANGE (subtype = double precision, subtype_diff = float8mi);
    CREATE TYPE mood_range AS RANGE (subtype = mood);
    CREATE TYPE price_range AS RANGE (subtype = numeric, multirange_type_name = price_ranges);
    CREATE DOMAIN year_range AS int4range CHECK (lower(VALUE) >= 1900);
";

const LITERAL: &[&str] = &["(", ")", "[", "]", "{", "}", ",", "\"", "\\", " ", "1", "a", "NULL", "empty", "2024-01-01", "infinity", "\n"];
const WORDS: &[&str] = &["sad", "ok", "a", "1", "-", " ", "ä", ",", "\"", "5", "0", "."];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = enums_and_domains();
    cases.extend(composites());
    cases.extend(ranges());
    cases.extend(arrays());
    cases
}

fn moods() -> Texts {
    word(&[
        "sad",
        "ok",
        "happy",
        "schön",
        "with space",
        "with,comma",
        "with\"quote",
        "with'quote",
        "{brace}",
        "(paren)",
        "日本語",
        "glad",
        "OK",
    ])
}

fn enums_and_domains() -> Vec<Case> {
    let integers = || any_of([re("[0-9]{1,3}"), re("[ ]?[+-]?[0-9]{1,5}[ ]?")]);
    let prices = || any_of([re("[0-9]{1,3}(\\.[0-9]{1,4})?"), re("-?[0-9]{1,9}\\.?[0-9]{0,3}"), re("[1-9]e[0-6]")]);
    let strings = || any_of([re("[a-z]{1,5}"), re("[a-zäö ]{1,7}"), re("[a-z]{1,3} {0,9}")]);
    let times = re("20[0-9]{2}-0[1-9]-[12][0-9][ T][01][0-9]:[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,8})?)?");
    let lists = re("\\{[0-9]{1,3}(,[0-9]{1,3}){0,4}\\}");
    let cases = [
        Case::new("mood", &["mood"], WORDS, moods()),
        Case::new("\"Mixed Case\"", &["mood"], WORDS, word(&["a", "A", "b"])),
        Case::new("small_positive", &["integers"], WORDS, integers()),
        Case::new("never_null", &["integers"], WORDS, integers()),
        Case::new("short", &["strings"], WORDS, any_of([strings(), word(&["bad", "bad ", "BAD"])])),
        Case::new("fixed", &["strings"], WORDS, strings()),
        Case::new("price", &["numeric"], WORDS, prices()),
        Case::new("zip", &["zip"], WORDS, any_of([re("[0-9]{5}"), re("[0-9]{4,6}")])),
        Case::new("good_mood", &["mood"], WORDS, moods()),
        Case::new("few", &["arrays"], LITERAL, lists),
        Case::new("cents", &["numeric"], WORDS, prices()),
        Case::new("moment", &["timestamps"], WORDS, times),
        Case::new("with_default", &["integers"], WORDS, any_of([integers(), word(&["13", " 13", "013"])])),
    ];
    cases.into_iter().flat_map(with_array).collect()
}

fn composites() -> Vec<Case> {
    let integers = || re("[ ]?-?[0-9]{1,6}");
    let texts = || any_of([re("[a-z ]{1,6}"), re("[ -~]{0,6}"), re("[äö€,\"\\\\()\n]{1,4}")]);
    let pairs = || row_of(vec![integers(), texts()]);
    let lists = || re("\\{([0-9]{1,3}|NULL)(,[0-9]{1,3}){0,3}\\}");
    let dates = || any_of([re("20[0-9]{2}-0[1-9]-[0-2][0-9]"), word(&["infinity", "Feb 28, 2024", "2024-02-30"])]);
    let zips = row_of(vec![re("[1-9][0-9]?"), re("[0-9]{5}")]);
    let typed = row_of(vec![
        re("[a-zä ]{1,4}"),
        re("[a-z]{1,3} {0,2}"),
        re("[0-2][0-9]:[0-5][0-9](:[0-5][0-9]\\.[0-9])?"),
        re("\\\\x([0-9a-f]{2}){0,3}"),
    ]);
    let with_array = row_of(vec![re("[0-9]{1,8}(\\.[0-9]{1,3})?"), lists(), moods(), dates()]);
    let cases = [
        Case::new("pair", &["pair"], LITERAL, pairs()),
        Case::new("nested", &["nested", "pair"], LITERAL, row_of(vec![integers(), pairs()])),
        Case::new("with_array", &["with_array", "pair"], LITERAL, with_array),
        Case::new("of_domains", &["of_domains", "pair"], LITERAL, zips),
        Case::new("typed", &["pair"], LITERAL, typed),
        Case::new("single", &["pair", "arrays"], LITERAL, row_of(vec![texts()])),
        Case::new("nothing", &["pair"], LITERAL, word(&["()", " () ", "( )", "(,)"])).few(),
        Case::new("positive_pair", &["pair"], LITERAL, pairs()),
    ];
    let arrays: Vec<Case> = cases.iter().map(|case| case.array(',').with("pair_arrays")).collect();
    cases.into_iter().chain(arrays).collect()
}

/// Bounds from numbers in order.
fn bounds(low: std::ops::Range<i64>, span: std::ops::Range<i64>, shown: fn(i64) -> String) -> Texts {
    range_of(ordered(low, span).prop_map(move |(low, high)| (shown(low), shown(high))).boxed())
}

/// A day in the years around 2000, by its number.
fn day(number: i64) -> String {
    format!("{:04}-{:02}-{:02}", 1990 + number / 336, number / 28 % 12 + 1, number % 28 + 1)
}

fn ranges() -> Vec<Case> {
    let whole = |span: i64| bounds(-1000..1000, -20..span, |number| number.to_string());
    let decimal = || bounds(-90_000..90_000, -500..9_000, |number| format!("{}.{:02}", number / 100, number.abs() % 100));
    let dates = || bounds(0..9_000, -30..900, day);
    let times = || {
        bounds(0..9_000, -30..900, |number| {
            format!("{} {:02}:{:02}:00.{number}", day(number), number % 24, number % 60)
        })
    };
    let zoned = || bounds(0..9_000, -30..900, |number| format!("{} {:02}:00{:+03}", day(number), number % 24, number % 13 - 6));
    let texts = || range_of(("[a-m \"\\\\,]{0,4}", "[m-zäö ]{0,4}").boxed());
    let mood_bounds = || range_of((word(&["sad", "ok", "happy", "with,comma"]), word(&["ok", "happy", "日本語", "(paren)", "x"])).boxed());
    let kinds: [(&str, &str, &str, &str, Texts); 11] = [
        ("int4range", "int4multirange", "int_ranges", "int_multiranges", whole(100)),
        ("int8range", "int8multirange", "int_ranges", "int_multiranges", whole(9_000)),
        ("numrange", "nummultirange", "num_ranges", "num_multiranges", decimal()),
        ("daterange", "datemultirange", "time_ranges", "time_multiranges", dates()),
        ("tsrange", "tsmultirange", "time_ranges", "time_multiranges", any_of([dates(), times(), times()])),
        (
            "tstzrange",
            "tstzmultirange",
            "time_ranges",
            "time_multiranges",
            any_of([times(), zoned(), zoned()]),
        ),
        ("text_range", "text_multirange", "text_ranges", "num_multiranges", texts()),
        ("float_range", "float_multirange", "num_ranges", "num_multiranges", decimal()),
        ("price_range", "price_ranges", "num_ranges", "num_multiranges", decimal()),
        ("mood_range", "mood_multirange", "text_ranges", "num_multiranges", mood_bounds()),
        ("year_range", "", "int_ranges", "", bounds(1880..2000, -5..90, |number| number.to_string())),
    ];
    let mut cases = Vec::new();
    for (range, multirange, range_section, multirange_section, texts) in kinds {
        let case = Case::new(range, &[range_section], LITERAL, texts.clone());
        cases.push(case.array(',').with("range_arrays"));
        cases.push(case);
        if !multirange.is_empty() {
            cases.extend(with_array(Case::new(multirange, &[multirange_section], LITERAL, multirange_of(texts))));
        }
    }
    cases
}

/// Shapes that no derived array has: more dimensions than are allowed, thousands of elements, literals by PostgreSQL's own grammar only.
fn arrays() -> Vec<Case> {
    let numbers = re("\\{\\{[0-9]{1,3},[0-9]{1,3}\\},\\{[0-9]{1,3},(NULL|[0-9]{1,3})\\}\\}");
    let bounded = chain([word(&["[0:1]", "[1:2]", "[-5:-4]", "[1:3]"]), word(&["=", " = ", ""]), re("\\{[0-9]{1,3},[0-9]{1,3}\\}")]);
    let thousands: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let long = [
        format!("{{{}}}", thousands.join(",")),
        format!("{}1{}", "{".repeat(6), "}".repeat(6)),
        format!("{}1{}", "{".repeat(7), "}".repeat(7)),
    ];
    vec![
        Case::new("integer[][]", &["arrays"], LITERAL, any_of([numbers.clone(), bounded.clone()])).and(long.clone()),
        Case::new("integer[3]", &["arrays"], LITERAL, any_of([numbers, bounded])).and(long),
    ]
}
