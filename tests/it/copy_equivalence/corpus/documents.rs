//! JSON, JSON paths, XML, full text.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::generated::{Texts, any_of, chain, in_quotes, re, word};
use super::{Case, with_array};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["json", "jsonb"] {
        let case = Case::new(name, &["json"], JSON, json()).and(deep_json());
        let array = case.array(',').with("json_arrays");
        cases.extend([case, array]);
    }
    let path_pieces = &["$", ".", "a", "[*]", "[0]", "*", " ? ", "(@ > 1)", "()", "\"", "strict ", "1", "+", "&&", "==", " ", "last", "**"];
    cases.extend(with_array(Case::new("jsonpath", &["jsonpath"], path_pieces, paths())));
    let xml_pieces =
        &["<", ">", "/", "a", "<a>", "</a>", "&", ";", "&amp;", "<!--", "-->", "<?xml version=\"1.0\"?>", " ", "]]>", "ä", "="];
    cases.extend(with_array(Case::new("xml", &["xml"], xml_pieces, xml())));
    let vector_pieces = &["a", "'", ":", "1", "A", ",", " ", "\\", "''", "b:2", "*", "&", "ä"];
    cases.extend(with_array(Case::new("tsvector", &["tsvector"], vector_pieces, vectors()).and(long_lexemes())));
    let query_pieces = &["a", "b", "&", "|", "!", "<->", "<2>", "(", ")", " ", ":*", ":AB", "'", "\\", "ä"];
    cases.extend(with_array(Case::new("tsquery", &["tsquery"], query_pieces, queries()).and(long_lexemes())));
    cases
}

const JSON: &[&str] =
    &["{", "}", "[", "]", ",", ":", "\"", "\"a\"", "1", "0", "-", ".", "e", "null", "true", "\\", "\\u0000", "\\ud83d", " ", "\n", "ä"];

fn json() -> Texts {
    let texts = any_of([re("[ !#-\\[\\]-~]{0,9}"), re("[äöü€😀a]{0,5}"), re("(\\\\u00[4-7][0-9a-f]|\\\\[nrtbf/]|\\\\u20ac|x){0,4}")]);
    let leaf = any_of([
        word(&["null", "true", "false", "0", "-0", "1.50", "1e5", "1E-2", "{}", "[]"]),
        re("-?[1-9][0-9]{0,24}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?"),
        texts.clone().prop_map(|text| format!("\"{text}\"")).boxed(),
    ]);
    let blank = word(&["", "", "", " ", "\n", "\t"]);
    let nested = leaf.prop_recursive(4, 24, 4, move |inner| {
        let list =
            (vec(inner.clone(), 0..4), blank.clone()).prop_map(|(items, blank)| format!("[{blank}{}]", items.join(&format!(",{blank}"))));
        let key = prop_oneof![3 => Just("a".to_owned()), 2 => re("[a-z]{1,3}"), 1 => texts.clone()];
        let member = (key, blank.clone(), inner).prop_map(|(key, blank, value)| format!("\"{key}\"{blank}:{blank}{value}"));
        let object = vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(",")));
        prop_oneof![list, object].boxed()
    });
    chain([word(&["", "", " "]), nested.boxed(), word(&["", "", "\n"])])
}

/// Deep, long, and too deep.
fn deep_json() -> Vec<String> {
    let nest = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let members: Vec<String> = (0..2_000).map(|number| format!("\"k{number}\":{number}")).collect();
    vec![
        nest(100),
        nest(1_000),
        nest(200_000),
        format!("{{{}}}", members.join(",")),
        format!("\"{}\"", "x".repeat(100_000)),
        format!("[{}1]", "1,".repeat(20_000)),
        format!("{}", "9".repeat(1_000)),
        format!("{{\"{}\":1}}", "k".repeat(70_000)),
        "[".repeat(50),
    ]
}

fn paths() -> Texts {
    let step = any_of([
        re("\\.[a-z]{1,4}"),
        re("\\[[0-9]{1,2}( to ([0-9]{1,3}|last))?\\]"),
        re("\\.\"[ -!#-\\[\\]-~]{0,6}\""),
        word(&[
            "[*]",
            ".*",
            ".**",
            ".**{2}",
            ".**{1 to 3}",
            ".type()",
            ".size()",
            ".double()",
            ".keyvalue()",
            "[last]",
            "[last - 1]",
            ".ä",
        ]),
        re(" \\? \\(@(\\.[a-z])? (==|!=|<|>|<=|>=) (-?[0-9]{1,3}(\\.[0-9])?|\"[a-z]{0,3}\"|true|null)\\)"),
        re(" \\? \\(@\\.[a-z] (>|<) [0-9] (&&|\\|\\|) exists\\(@\\.[a-z]\\)\\)"),
        re(" \\? \\(@ (like_regex \"[a-z.^$]{1,4}\"( flag \"[ismx]{1,3}\")?|starts with \"[a-z]{1,3}\")\\)"),
    ]);
    let plain = (word(&["", "", "strict ", "lax "]), vec(step, 0..4)).prop_map(|(mode, steps)| format!("{mode}${}", steps.concat()));
    any_of([
        plain.boxed(),
        re("\\$\\.[a-z] [-+*/%] (\\$\\.[a-z]|[0-9]{1,3}(\\.[0-9]{1,2})?)"),
        re("(-|\\+)?\\(?[0-9]{1,4}\\)?( [-+*] [0-9])?"),
    ])
}

fn xml() -> Texts {
    let text = any_of([re("[a-zA-Z0-9 äöü€]{0,8}"), word(&["&amp;", "&lt;", "<!-- c -->", "<![CDATA[<&>]]>", "&#65;", "<?pi x?>", "\n"])]);
    let element = text.prop_recursive(3, 16, 3, |inner| {
        let parts = ("[a-z]{1,4}", "( [a-z]{1,3}=\"[a-z0-9 ]{0,4}\")?", vec(inner, 0..3));
        parts
            .prop_map(|(name, attribute, content)| match content.is_empty() {
                true => format!("<{name}{attribute}/>"),
                false => format!("<{name}{attribute}>{}</{name}>", content.concat()),
            })
            .boxed()
    });
    let prolog = word(&["", "", "", "<?xml version=\"1.0\"?>", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", "<!DOCTYPE a>"]);
    chain([prolog, element.boxed()])
}

fn lexemes() -> Texts {
    let quoted = re("[a-z äö:&|!<>'()\\\\]{1,8}").prop_map(|text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''")));
    any_of([re("[a-zA-Z0-9]{1,8}"), re("[a-zäöü]{1,6}"), quoted.boxed(), re("([a-z]|\\\\[ -~]){1,5}")])
}

fn vectors() -> Texts {
    let positions = re("(:[1-9][0-9]{0,4}[A-Da-d]?(,[1-9][0-9]{0,2}[A-D]?){0,3})?");
    let item = chain([lexemes(), positions]);
    (vec(item, 1..7), word(&[" ", " ", "  ", "\n"]))
        .prop_map(|(items, blank)| items.join(&blank))
        .boxed()
}

fn queries() -> Texts {
    let leaf = chain([lexemes(), word(&["", "", "", ":*", ":A", ":ab", ":*CD"])]);
    let tree = leaf.prop_recursive(4, 16, 2, |inner| {
        let operator = word(&[" & ", "&", " | ", "|", " <-> ", "<2>", "<->"]);
        let two = (inner.clone(), operator, inner.clone()).prop_map(|(left, operator, right)| format!("{left}{operator}{right}"));
        prop_oneof![3 => two.clone(), 2 => two.prop_map(|text| format!("({text})")), 1 => inner.prop_map(|text| format!("!{text}"))].boxed()
    });
    tree.boxed()
}

/// A lexeme has at most 2,046 bytes, a vector at most a megabyte, a lexeme at most 256 positions.
fn long_lexemes() -> Vec<String> {
    let positions: Vec<String> = (1..300).map(|number| number.to_string()).collect();
    let words: Vec<String> = (0..3_000).map(|number| format!("w{number}")).collect();
    let mut texts: Vec<String> = (2_045..2_049).map(|length| "x".repeat(length)).collect();
    texts.extend([format!("a:{}", positions.join(",")), words.join(" "), words.join("|"), "x ".repeat(5_000)]);
    texts.extend([words.join(&"y".repeat(400)), in_quotes(&"q".repeat(2_046), "\\"), format!("{}a", "!".repeat(300)), "(".repeat(300)]);
    texts
}
