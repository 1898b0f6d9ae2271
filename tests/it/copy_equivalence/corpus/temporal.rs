//! Dates, times, intervals.

use proptest::prelude::*;

use super::super::generated::{Texts, any_of, chain, re, word};
use super::{Case, with_array};

const PIECES: &[&str] = &[
    "-",
    ":",
    ".",
    " ",
    "/",
    "+",
    "T",
    "Z",
    "0",
    "1",
    "2",
    "12",
    "24",
    "60",
    "2024",
    "99",
    "Jan",
    "feb",
    "BC",
    "AM",
    "PM",
    "UTC",
    "infinity",
    "00",
    "+02",
    "PST",
    ",",
    "Monday",
    "Europe/Berlin",
    "J",
    "epoch",
];
const SPANS: &[&str] = &[
    "-", ":", ".", " ", "+", "0", "1", "2", "12", "day", "days", "mon", "year", "h", "P", "T", "M", "S", "Y", "D", "W", "ago", "@", "1:2",
    "week", "s", "us", "1e3", ",",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = with_array(Case::new("date", &["date"], PIECES, any_of([dates(), iso_dates(), dates()]))).to_vec();
    for name in ["time", "time(0)", "time(3)"] {
        cases.extend(with_array(Case::new(name, &["time"], PIECES, times())));
    }
    for name in ["timetz", "timetz(2)"] {
        cases.extend(with_array(Case::new(name, &["timetz"], PIECES, any_of([zoned(times()), zoned(times()), times()]))));
    }
    for name in ["timestamp", "timestamp(0)", "timestamp(3)"] {
        let sections: &[&str] = if name.contains('(') { &["timestamps"] } else { &["date", "timestamps"] };
        cases.extend(with_array(Case::new(name, sections, PIECES, moments())));
    }
    for name in ["timestamptz", "timestamptz(0)", "timestamptz(3)"] {
        let sections: &[&str] = if name.contains('(') { &["timestamps"] } else { &["date", "timestamps"] };
        cases.extend(with_array(Case::new(
            name,
            sections,
            PIECES,
            any_of([zoned(moments()), zoned(moments()), moments()]),
        )));
    }
    cases.extend(with_array(Case::new("interval", &["interval"], SPANS, spans())));
    for fields in ["(0)", "(3)", " year", " month", " day", " hour", " minute", " second", " year to month", " day to hour"] {
        cases.push(Case::new(&format!("interval{fields}"), &["interval"], SPANS, spans()));
    }
    for fields in
        [" day to minute", " day to second", " day to second(2)", " hour to minute", " hour to second", " minute to second", " second(1)"]
    {
        cases.push(Case::new(&format!("interval{fields}"), &["interval"], SPANS, spans()));
    }
    cases
}

/// Years that are likely, and some at the ends of the calendar.
fn years() -> BoxedStrategy<u32> {
    prop_oneof![8 => 1900..2100u32, 2 => 1..10_000u32, 1 => 10_000..300_000u32, 1 => prop_oneof![Just(4713u32), Just(294_276), Just(294_277)]].boxed()
}

fn iso_dates() -> Texts {
    (years(), 1..13u32, 1..32u32)
        .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"))
        .boxed()
}

const MONTHS: [&str; 12] = ["January", "Feb", "march", "APR", "May", "June", "jul", "August", "Sept", "Oct", "NOVEMBER", "December"];

/// The same day in any way to write it.
pub(super) fn dates() -> Texts {
    (years(), 1..13u32, 1..32u32, 0..22u8, "( BC| AD| bc|BC)?", 0..12u8)
        .prop_map(|(year, month, day, style, era, with_era)| {
            let name = MONTHS[month as usize - 1];
            let text = match style {
                0..=3 => format!("{year:04}-{month:02}-{day:02}"),
                4 => format!("{year}-{month}-{day}"),
                5 => format!("{name} {day}, {year:04}"),
                6 => format!("{day} {name} {year:04}"),
                7 => format!("{day:02}-{name}-{year:04}"),
                8 => format!("{year:04}-{name}-{day:02}"),
                9 => format!("{month}/{day}/{year:04}"),
                10 => format!("{day}/{month}/{year:04}"),
                11 => format!("{day:02}.{month:02}.{year:04}"),
                12 => format!("{year:04}{month:02}{day:02}"),
                13 => format!("{:02}{month:02}{day:02}", year % 100),
                14 => format!("{month:02}-{day:02}-{:02}", year % 100),
                15 => format!("{year:04}.{:03}", month * 28 + day),
                16 => format!("{year:04}-{:03}", month * 28 + day),
                17 => format!("J{}", year * 365),
                18 => format!("{year:04}/{month:02}/{day:02}"),
                19 => format!("{name}-{day:02}-{year:04}"),
                20 => format!("Wed {name} {day} {year:04}"),
                _ => format!(" {year:04}-{month:02}-{day:02}\n"),
            };
            if with_era == 0 { text + &era } else { text }
        })
        .boxed()
}

fn times() -> Texts {
    let clock = (0..25u32, 0..61u32, 0..61u32, "[0-9]{1,9}", 0..16u8);
    clock
        .prop_map(|(hour, minute, second, fraction, style)| match style {
            0..=2 => format!("{hour:02}:{minute:02}:{second:02}"),
            3..=5 => format!("{hour:02}:{minute:02}:{second:02}.{fraction}"),
            6 => format!("{hour:02}:{minute:02}"),
            7 => format!("{hour}:{minute}:{second}"),
            8 => format!("{}:{minute:02} PM", hour % 13),
            9 => format!("{:02}:{minute:02}:{second:02} am", hour % 13),
            10 => format!("{hour:02}{minute:02}{second:02}"),
            11 => format!("{hour:02}{minute:02}{second:02}.{fraction}"),
            12 => format!(" {hour:02}:{minute:02}:{second:02} "),
            13 => format!("{minute:02}:{second:02}.{fraction}"),
            14 => format!("T{hour:02}{minute:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}.{fraction}{fraction}"),
        })
        .boxed()
}

fn zoned(texts: Texts) -> Texts {
    let zones = any_of([
        word(&["Z", "z", " UTC", "+00", " Z", "+02", "-05:30", " +0530", "-08", " PST", " CEST", " EST5EDT", " MSK"]),
        word(&[
            " Europe/Berlin",
            " America/New_York",
            " asia/kolkata",
            " Australia/Lord_Howe",
            " GMT+5",
            " Etc/GMT-14",
            " <+03>-3",
            " Africa/Casablanca",
        ]),
        re("[+-](0[0-9]|1[0-6])(:?[0-6][0-9](:[0-5][0-9])?)?"),
        re(" ?[+-][0-9]{1,4}"),
    ]);
    chain([texts, zones])
}

/// A date and a time.
fn moments() -> Texts {
    let separators = word(&[" ", "T", " ", "  ", " ", "t", "\t"]);
    let backwards = (times(), dates()).prop_map(|(time, date)| format!("{time} {date}"));
    any_of([chain([iso_dates(), separators.clone(), times()]), chain([dates(), separators, times()]), dates(), backwards.boxed()])
}

fn spans() -> Texts {
    let number = any_of([re("[+-]?[0-9]{1,4}"), re("[+-]?[0-9]{1,4}\\.[0-9]{1,7}"), re("-?[0-9]{1,2}")]);
    let unit = word(&[
        "year",
        "years",
        "y",
        "yr",
        "month",
        "mons",
        "mon",
        "week",
        "weeks",
        "w",
        "day",
        "days",
        "d",
        "hour",
        "hours",
        "h",
        "hr",
        "minute",
        "mins",
        "min",
        "m",
        "second",
        "secs",
        "s",
        "ms",
        "msec",
        "us",
        "usecs",
        "decade",
        "century",
        "millennium",
        "quarter",
    ]);
    let part = chain([number, word(&[" ", "", " "]), unit]);
    let parts = (proptest::collection::vec(part, 1..4), word(&["", "", "", " ago"])).prop_map(|(parts, ago)| parts.join(" ") + &ago);
    let clock = re("[+-]?[0-9]{1,4}:[0-5]?[0-9](:[0-5]?[0-9](\\.[0-9]{0,8})?)?");
    any_of([
        parts.boxed(),
        clock.clone(),
        chain([re("[+-]?[0-9]{1,5} days? "), clock.clone()]),
        chain([re("([+-]?[0-9]{1,4}-[0-9]{1,2} )?[+-]?[0-9]{1,3} "), clock]),
        re("[+-]?[0-9]{1,4}-[0-9]{1,2}"),
        re(
            "P([+-]?[0-9]{1,3}Y)?([+-]?[0-9]{1,3}M)?([+-]?[0-9]{1,3}(\\.[0-9]{1,3})?D)?(T([0-9]{1,3}H)?([0-9]{1,3}M)?([+-]?[0-9]{1,3}(\\.[0-9]{1,7})?S)?)?",
        ),
        re("P[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,6})?)?"),
        re("@ [0-9]{1,3} (years|mons|days|hours|mins|secs)( ago)?"),
        re("[+-]?[0-9]{1,9}(\\.[0-9]{1,8})?"),
    ])
}
