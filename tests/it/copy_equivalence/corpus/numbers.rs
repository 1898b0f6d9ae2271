//! Booleans, integers, floating point and exact numbers, money.

use proptest::sample::select;
use proptest::strategy::Strategy;

use super::super::generated::{Texts, any_of, chain, re, word};
use super::{Case, with_array};

const DIGITS: &[&str] = &["0", "1", "9", "5", "-", "+", ".", "e", "E", "_", "x", "0x", " ", ",", "a", "nan", "inf", "1e", "٣"];

pub(super) fn cases() -> Vec<Case> {
    let bool_pieces = &["t", "f", "true", "no", "o", "y", "1", "0", " ", "on", "off", "r", "u"];
    let bools = re("(?i)[ \t]{0,2}(t|tr|tru|true|f|fa|fal|fals|false|y|ye|yes|n|no|on|of|off|1|0)[ \n]{0,2}");
    let mut cases = with_array(Case::new("boolean", &["bool"], bool_pieces, bools)).to_vec();
    for (name, digits, most) in [("smallint", 4, i64::from(i16::MAX)), ("integer", 9, i64::from(i32::MAX)), ("bigint", 18, i64::MAX)] {
        cases.extend(with_array(Case::new(name, &["integers"], DIGITS, integers(digits, most)).and(long_integers())));
    }
    let oids = any_of([re("[0-9]{1,9}"), re("[ ]{0,2}[+-]?0{0,3}[0-9]{1,10}[ ]{0,2}")]);
    cases.extend(with_array(Case::new("oid", &["oids", "xids"], DIGITS, oids)));
    for (name, exponent) in [("real", "[eE][+-]?(3[0-9]|[0-4]?[0-9])"), ("double precision", "[eE][+-]?(30[0-9]|[0-2]?[0-9]?[0-9])")] {
        cases.extend(with_array(Case::new(name, &["floats"], DIGITS, floats(exponent)).and(long_floats())));
    }
    cases.extend(numeric_cases());
    cases.extend(with_array(money()));
    cases
}

fn integers(digits: usize, most: i64) -> Texts {
    let near = (-9..9i64).map(|off| (i128::from(most) + i128::from(off)).to_string());
    let near: Vec<String> = near.flat_map(|text| [format!("-{text}"), text]).collect();
    any_of([
        re(&format!("[+-]?[0-9]{{1,{digits}}}")),
        re(&format!("[ \t\n]{{0,2}}[+-]?0{{0,9}}[0-9]{{1,{digits}}}[ \r]{{0,2}}")),
        re("[+-]?(0x[0-9a-fA-F]{1,5}|0o[0-7]{1,5}|0b[01]{1,14}|[0-9]{1,2}(_[0-9]{1,2}){1,2})"),
        select(near).boxed(),
    ])
}

fn long_integers() -> Vec<String> {
    vec![
        format!("{}1", "0".repeat(1000)),
        "9".repeat(400),
        format!("-{}", "9".repeat(400)),
        format!("{}7{}", " ".repeat(300), " ".repeat(300)),
    ]
}

fn floats(exponent: &str) -> Texts {
    let words = word(&["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "+inf", "0", "-0", "iNf", "INFINITY"]);
    any_of([
        re("[+-]?[0-9]{1,7}"),
        re("[+-]?[0-9]{1,12}\\.[0-9]{1,12}"),
        re("[+-]?[0-9]{0,20}\\.[0-9]{1,20}"),
        re(&format!("[+-]?[0-9]\\.[0-9]{{1,20}}{exponent}")),
        re(&format!("[+-]?[0-9]{{1,3}}\\.?{exponent}")),
        chain([re("[ \t\n]{0,2}"), re("[+-]?[0-9]{1,4}\\.?[0-9]{0,4}"), re("[ \r]{0,2}")]),
        words,
    ])
}

/// Halfway cases, of which every digit counts.
fn long_floats() -> Vec<String> {
    let halfway = "2.22507385850720113605740979670913197593481954635164564802342610972482222202107694551652952390813508791414915891303962110\
                   687008643869459464552765720740782062174337998814106326732925355228688137214901298112245145188984905722230728525513315575";
    let tie = "1.000000059604644775390625";
    vec![
        format!("{halfway}e-308"),
        format!("{tie}{}", "0".repeat(800)),
        format!("{tie}{}1", "0".repeat(800)),
        format!("0.{}1", "0".repeat(400)),
        format!("{}e-400", "1".repeat(400)),
        format!("0.{}1e320", "0".repeat(320)),
        format!("1{}", "0".repeat(308)),
        format!("1{}", "0".repeat(309)),
        format!("1{}", "0".repeat(40)),
        format!("{}.5", "0".repeat(500)),
        "9".repeat(5000),
    ]
}

fn numeric_cases() -> Vec<Case> {
    let wide = numerics("[0-9]{1,40}", "[0-9]{1,40}");
    let mut cases = with_array(Case::new("numeric", &["numeric"], DIGITS, wide.clone()).and(long_numerics())).to_vec();
    for declared in ["numeric(38,10)", "numeric(1000,0)", "numeric(1000,500)"] {
        cases.push(Case::new(declared, &["numeric"], DIGITS, wide.clone()));
    }
    cases.extend(with_array(Case::new("numeric(10,2)", &["numeric"], DIGITS, numerics("[0-9]{1,8}", "[0-9]{1,4}"))));
    for (declared, integer) in [("numeric(4,1)", "[0-9]{1,3}"), ("numeric(5)", "[0-9]{1,5}"), ("numeric(1,1)", "0")] {
        cases.push(Case::new(declared, &["numeric"], DIGITS, numerics(integer, "[0-9]{1,4}")));
    }
    // Negative scales, and scales beyond the precision, came with PostgreSQL 15.
    let scales = [
        ("numeric(3,-2)", "[0-9]{1,5}", "[0-9]{1,4}"),
        ("numeric(2,-10)", "[0-9]{1,12}", "[0-9]{1,4}"),
        ("numeric(2,4)", "0", "00[0-9]{1,6}"),
        ("numeric(3,10)", "0", "0{7}[0-9]{1,5}"),
    ];
    for (declared, integer, fraction) in scales {
        cases.push(Case::new(declared, &["numeric"], DIGITS, numerics(integer, fraction)).since(15));
    }
    cases
}

fn numerics(integer: &str, fraction: &str) -> Texts {
    any_of([
        re(&format!("[+-]?{integer}")),
        re(&format!("[+-]?{integer}\\.{fraction}")),
        re(&format!("[+-]?0?\\.{fraction}")),
        re("[+-]?[0-9]{1,4}\\.[0-9]{1,6}"),
        re("[+-]?[0-9]{1,3}(\\.[0-9]{0,4})?[eE][+-]?[0-9]{1,2}"),
        re("[ \t]{0,2}-?0{0,6}[0-9]{1,3}\\.?0{0,6}[ \n]{0,2}"),
        word(&["NaN", "nan", " NaN ", "Infinity", "-Infinity", "inf", "-inf", "0", "0.000", "1_000.5", "0xff", "0b101"]),
    ])
}

/// At and beyond the limits: 131,072 digits before the point and 16,383 after it.
fn long_numerics() -> Vec<String> {
    vec![
        "9".repeat(131_072),
        "9".repeat(131_073),
        format!("-{}.{}", "1".repeat(131_072), "2".repeat(16_383)),
        format!("0.{}1", "0".repeat(16_382)),
        format!("0.{}1", "0".repeat(16_383)),
        format!("0.{}5", "0".repeat(16_383)),
        format!("0.{}", "7".repeat(16_384)),
        format!("0.{}", "9".repeat(16_390)),
        format!("{}1", "0".repeat(140_000)),
        format!("1.{}", "0".repeat(16_383)),
        format!("1.{}", "0".repeat(16_384)),
        format!("1.{}", "0".repeat(20_000)),
        format!("{}e131071", "1".repeat(3)),
        format!("0.{}1e20000", "0".repeat(20_000)),
        format!("{}e-16383", "1".repeat(300)),
        format!("{}e-20000", "1".repeat(5_000)),
        format!("1234{}.5678{}", "0".repeat(1_000), "0".repeat(1_000)),
    ]
}

fn money() -> Case {
    let pieces = &["$", "-", "(", ")", ",", ".", "1", "0", "9", "00", "123", " ", "+", "€"];
    let amounts = any_of([
        re("-?\\$?[0-9]{1,9}(\\.[0-9]{1,4})?"),
        re("\\$?[0-9]{1,3}(,[0-9]{3}){0,4}\\.[0-9]{2}"),
        re("\\(\\$?[0-9]{1,6}(\\.[0-9]{1,3})?\\)"),
        re("[ ]{0,2}-?[ ]?\\$?[ ]?[0-9]{1,5}[ ]{0,2}"),
    ]);
    Case::new("money", &["money"], pieces, amounts)
}
