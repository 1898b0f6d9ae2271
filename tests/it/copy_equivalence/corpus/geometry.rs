//! Geometry.

use super::super::generated::{Texts, any_of, re, word};
use super::Case;

const PIECES: &[&str] = &["(", ")", "[", "]", "{", "}", "<", ">", ",", " ", "1", "2.5", "-3", "nan", "inf", "(1,2)", ";", "a", "1e400"];

pub(super) fn cases() -> Vec<Case> {
    let n = "[+-]?[0-9]{1,4}(\\.[0-9]{1,9})?(e[+-]?[0-9]{1,2})?";
    let p = format!("\\([ ]{{0,1}}{n}[ ]{{0,1}},[ ]{{0,1}}{n}\\)");
    let infinite = "\\((-?inf|nan|Infinity|0),(-inf|NaN|1e3)\\)";
    let point = any_of([re(&p), re(&format!("{n},{n}")), re(&format!(" {p} ")), re(infinite)]);
    let line = any_of([re(&format!("\\{{{n},{n},{n}\\}}")), re(&format!("\\[{p},{p}\\]")), re(&format!("{p},{p}"))]);
    let lseg = any_of([re(&format!("\\[{p},{p}\\]")), re(&format!("\\({p},{p}\\)")), re(&format!("{n},{n},{n},{n}"))]);
    let corners = any_of([re(&format!("{p},{p}")), re(&format!("\\({p}, ?{p}\\)")), re(&format!("{n},{n} ,{n},{n}"))]);
    let path = any_of([re(&format!("\\[{p}(,{p}){{0,4}}\\]")), re(&format!("\\({p}(,{p}){{0,4}}\\)")), re(&format!("{n},{n},{n},{n}"))]);
    let polygon = any_of([re(&format!("\\({p}(,{p}){{0,5}}\\)")), re(&format!("{p},{p},{p}"))]);
    let circle = any_of([re(&format!("<{p},[0-9]{{1,3}}>")), re(&format!("\\({p},{n}\\)")), re(&format!("{n},{n},[0-9]{{1,3}}"))]);
    let scalars: [(&str, Texts, &str); 6] = [
        ("line", line, ""),
        ("lseg", lseg, ""),
        ("path", path, ""),
        ("polygon", polygon, ""),
        ("circle", circle, ""),
        ("point", point, "point_arrays"),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (name, valid, array_section) in scalars {
        let case = Case::new(name, &[name], PIECES, valid);
        let array = case.array(',');
        cases.push(if array_section.is_empty() { array } else { array.with(array_section) });
        cases.push(case);
    }
    // The one type of which arrays have another delimiter.
    let boxes = Case::new(
        "box",
        &["box"],
        PIECES,
        any_of([corners, word(&["(1,2),(3,4)", "1,2,3,4", "((-inf,0),(inf,nan))"])]),
    );
    cases.push(boxes.array(';').with("box_arrays"));
    cases.push(boxes);
    cases
}
