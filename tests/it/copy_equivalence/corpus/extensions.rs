//! Types that extensions bring. Where one is not installed on the server, the tally says so.

use super::super::generated::{Texts, any_of, chain, re, word};
use super::{Case, with_array};

pub(super) fn cases() -> Vec<Case> {
    let letters = &["a", "B", "ä", "Ä", " ", "\"", "\\", "=>", ",", "NULL"];
    let key = any_of([re("[a-z]{1,5}"), re("\"([ -!#-\\[\\]-~äö]|\\\\\"){0,6}\""), re("[a-zA-Zäöü0-9]{1,8}")]);
    let value = any_of([key.clone(), word(&["NULL", "null", "\"\"", "\"NULL\""])]);
    let pair = chain([key, word(&["=>", " => ", "=> "]), value]);
    let pairs = chain([
        pair.clone(),
        any_of([re(""), chain([word(&[",", ", "]), pair.clone()]), chain([word(&[", "]), pair.clone(), word(&[","]), pair])]),
    ]);
    let label = "[a-zA-Z0-9_]{1,6}";
    let mut cases = vec![
        case("citext", "citext", &["citext", "strings"], letters, re("[a-zA-ZäÄöÖß ]{1,12}")),
        case("hstore", "hstore", &["hstore"], letters, pairs),
        case(
            "ltree",
            "ltree",
            &["ltree"],
            &["a", ".", "b", "_", "-", " ", "1"],
            re(&format!("{label}(\\.{label}){{0,5}}")),
        ),
        case(
            "lquery",
            "ltree",
            &["lquery"],
            &["a", ".", "*", "{", "}", "1", "|", "!", "@", "%"],
            re(&format!("({label}[*@%]?|\\*(\\{{[0-9](,[0-9])?\\}})?)(\\.(!?{label}|\\*)){{0,3}}")),
        ),
        case(
            "ltxtquery",
            "ltree",
            &["ltxtquery"],
            &["a", "&", "|", "!", "(", ")", " ", "*"],
            re(&format!("!?{label}[*@%]? [&|] \\(?{label}")),
        ),
        case(
            "cube",
            "cube",
            &["cube"],
            &["(", ")", "[", "]", ",", "1", "2.5", " ", "inf"],
            re("\\(-?[0-9](\\.[0-9]{1,3})?(, ?-?[0-9]{1,3}){0,3}\\)"),
        ),
        case(
            "seg",
            "seg",
            &["seg"],
            &[".", "..", "1", "~", "<", "(+-)", " ", "e"],
            any_of([re("[~<>]?-?[0-9]{1,3}(\\.[0-9]{1,4})?"), re("[0-9]\\.[0-9]{1,3} ?\\.\\. ?[1-9][0-9](\\.[0-9]{1,2})?")]),
        ),
        case(
            "query_int",
            "intarray",
            &["query_int"],
            &["1", "&", "|", "!", "(", ")", " "],
            re("!?[0-9]{1,3}( ?[&|] ?!?[0-9]{1,3}){0,3}"),
        ),
        case("lo", "lo", &["oids"], &["0", "1", "-", " ", "x"], re("[0-9]{1,9}")),
    ];
    let numbers = [
        ("ean13", "[0-9]"),
        ("isbn13", "978"),
        ("isbn", "978"),
        ("ismn13", "9790"),
        ("ismn", "9790"),
        ("issn13", "977"),
        ("issn", "977"),
        ("upc", "0"),
    ];
    for (name, prefix) in numbers {
        cases.push(case(
            name,
            "isn",
            &["isn"],
            &["978", "-", "0", "9", "X", "?", "!", " ", "M"],
            product_numbers(prefix),
        ));
    }
    let wkt = "(POINT|point)( Z)?\\(-?[0-9]{1,2}(\\.[0-9]{1,6})? -?[0-9]{1,2}( [0-9])?\\)|LINESTRING\\([0-9] [0-9](,[0-9] [0-9]){1,3}\\)";
    let mut cases: Vec<Case> = cases.into_iter().flat_map(with_array).collect();
    for name in ["geometry", "geography", "geometry(Point,4326)"] {
        let shapes = case(
            name,
            "postgis",
            &["shapes"],
            &["POINT", "(", ")", " ", "1", ",", "SRID=4326;", "0101", "Z"],
            re(wkt),
        );
        cases.extend([shapes.array(':'), shapes]);
    }
    cases
}

fn case(sql_type: &str, extension: &'static str, sections: &[&str], pieces: &'static [&'static str], valid: Texts) -> Case {
    Case::new(sql_type, sections, pieces, valid).brought_by(extension)
}

/// Numbers with this prefix, of which the check digit is left to the server, left out, wrong, or by chance right.
fn product_numbers(prefix: &str) -> Texts {
    let missing = 12 - if prefix.starts_with('[') { 1 } else { prefix.len() };
    let body = format!("{prefix}[0-9]{{{missing}}}");
    any_of([re(&format!("{body}\\?")), re(&format!("{body}\\?")), re(&format!("{body}[0-9]!?")), re("[0-9]{8,9}[0-9X]!?")])
}
