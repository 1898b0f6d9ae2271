//! Bodies that parsers trip over: by hand, and generated.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Dialect, Format};

/// Bodies with COPY's own options, by hand.
pub(super) fn files() -> Vec<(Dialect, Vec<u8>)> {
    let mut bodies: Vec<(Dialect, Vec<u8>)> = CSV.iter().map(|(width, body)| (Dialect::csv(*width), body.to_vec())).collect();
    let csv = |width: usize, options: &[(&'static str, &str)], body: &[u8]| {
        let dialect = options.iter().fold(Dialect::csv(width), |dialect, (name, value)| dialect.with(name, value));
        (dialect, body.to_vec())
    };
    for (options, body) in WITH_OPTIONS {
        bodies.push(csv(3, options, body));
    }
    for header in HEADERS {
        bodies.push((Dialect { header: true, ..Dialect::csv(3) }, header.to_vec()));
    }
    for (options, body) in TEXT {
        let (mut dialect, body) = csv(3, options, body);
        dialect.format = Format::Text;
        bodies.push((dialect, body));
    }
    // Pieces of the size that files are read in, and records longer than them.
    let long = |piece: &str, count: usize| format!("1,\"{}\",3\n4,5,6\n", piece.repeat(count)).into_bytes();
    for (piece, count) in [("x", 70_000), ("\"\"", 40_000), ("\n", 70_000), ("\r\n", 40_000), ("ä", 40_000), ("a,b\n", 20_000)] {
        bodies.push((Dialect::csv(3), long(piece, count)));
    }
    bodies.push((Dialect::csv(3), "a,\"b\nc\",d\n".repeat(20_000).into_bytes()));
    bodies
}

/// Options of COPY with their values, and a body.
type WithOptions = (&'static [(&'static str, &'static str)], &'static [u8]);

const CSV: &[(usize, &[u8])] = &[
    (3, b"1,2,3\n4,5,6"),
    (3, b"\"a,b\",\"c\nd\",\"e\"\"f\"\n"),
    (3, b"a\"b,c\"d,e,f\n"),
    (3, b"\"\"\"\",\"\",\n"),
    (3, b"a,b,c\r\nd,\"e\r\nf\",g\r\n"),
    (3, b"a,b,c\rd,e,f\r"),
    (3, b" \"a\" , b ,c \n"),
    (3, b"\"a\"x\"b\",c,d\n"),
    (3, "ä,ö,\"ü\n\"\n".as_bytes()),
    (3, b"\\.x,b,c\n"),
    (3, b",,\n,,\n"),
    (3, b"\"\n\n\",\"\r\",\"\n\"\n"),
    (3, b"a,b,c\n\"d\",\"e\",\"f\""),
    (3, b""),
    (3, b"\n"),
    (1, b"\n"),
    (1, b"\n\n\n"),
    (1, b"a\n\nb\n"),
    (1, b"\r\n"),
    (1, b"\r\r"),
    (1, b"\"\"\n"),
    (1, b"\""),
    (1, b"\"a"),
    (1, b"\"a\n"),
    (1, b"a\"\n"),
    (1, b"a\"b\n\"c\n"),
    (1, b"\"\"\""),
    (1, b"\"\"\"\"\n"),
    (1, b"\"a\"\"\n"),
    (1, b"a\n\r\n"),
    (1, b"a\r\nb\n"),
    (1, b"a\nb\r\n"),
    (1, b"a\nb\rc\n"),
    (1, b"a\rb\nc\r"),
    (1, b"a\r\nb\rc\r\n"),
    (1, b"a\r\n\"b\n\"\r\n"),
    (1, b"\"a\r\"\nb\n"),
    (1, b"a\r"),
    (1, b"a\r\n"),
    (1, b"a\n\n"),
    (1, b"\"a\"\r\n\"b\"\r\n"),
    (1, b"\\.\n"),
    (1, b"\\."),
    (1, b"\\.\r\n"),
    (1, b"\\.\r"),
    (1, b"a\n\\.\n"),
    (1, b"a\n\\."),
    (1, b"a\r\n\\.\r\n"),
    (1, b"a\r\\.\r"),
    (1, b"a\n\\.\nb\n"),
    (1, b"a\n\\.\n\n"),
    (1, b"a\n\\.\n\\.\n"),
    (1, b"\\.\nb\n"),
    (1, b"a\n\"\\.\"\nb\n"),
    (1, b"\"a\n\\.\nb\"\n"),
    (1, b"\"a\n\\.\n"),
    (1, b" \\.\n"),
    (1, b"\\. \n"),
    (1, b"\\.\\.\n"),
    (1, b"\\\n"),
    (1, b"\\\\.\n"),
    (1, b"\\N\n"),
    (2, b"\\.,a\n"),
    (2, b"a,\\.\n"),
    (2, b"\\.\na,b\n"),
    (2, b"a,b\n\\.\n"),
    (2, b"a,b\n\\."),
    (1, b"\xef\xbb\xbfa\n"),
    (1, b"\xef\xbb\xbf\"a\"\n"),
    (1, b"\xef\xbb\xbf"),
    (1, b"\xff\n"),
    (1, b"a\xc3\n"),
    (1, b"a\xc3"),
    (1, b"\xc3\xa4\xc3\n"),
    (1, b"\"\xe2\x82\"\n"),
    (1, b"\xed\xa0\x80\n"),
    (1, b"\xf4\x90\x80\x80\n"),
    (1, b"\xc0\xaf\n"),
    (1, b"a\0b\n"),
    (1, b"\0\n"),
    (1, b"a\n\0"),
    (3, b"a,b\n"),
    (3, b"a,b,c,d\n"),
    (3, b"a,b,c\na,b\n"),
    (3, b"a,b,c\n\n"),
    (3, b"\na,b,c\n"),
    (3, b"a,b,c\n,\n"),
    (3, b"a,b,c,\n"),
    (3, b"a;b;c\n"),
    (3, b"\"a\",\"b\",\"c\"\n\"a\",\"b\",\"c\n"),
    (3, b"a, \"b,c\" ,d\n"),
    (3, b"a,\"b\" \"c\",d\n"),
    (3, b"a,b\"c,d\"e,f\n"),
    (3, b"\"a\"b\"c\"d,e,f\n"),
    (3, b"'a,b',c\n"),
    (3, b"a,\\\"b\\\",c\n"),
    (3, b"a,\"\\\"b\",c\n"),
    (3, b"\t,\t\t,\t\n"),
    (3, b" , , \n"),
    (3, b"NULL,null,\"NULL\"\n"),
    (3, b"\"\",,\"\"\n"),
    (3, b"a,b,c\n#comment\nd,e,f\n"),
    (3, b"a,b,c\x1a"),
    (3, b"a,b,c\n\x1a"),
    (3, b"\x01,\x7f,\x1f\n"),
    (3, "\u{a0},\u{3000},\u{2028}\n".as_bytes()),
    (3, "\u{85},\u{feff},\u{10ffff}\n".as_bytes()),
];

const WITH_OPTIONS: &[WithOptions] = &[
    (&[("delimiter", ";")], b"a;b,c;\"d;e\"\n"),
    (&[("delimiter", "\t")], b"a\tb\t\"c\td\"\n"),
    (&[("delimiter", "|")], b"a|b|c\n"),
    (&[("delimiter", " ")], b"a b \"c d\"\n"),
    (&[("delimiter", "\\")], b"a\\b\\c\n\\.\\b\n"),
    (&[("delimiter", ".")], b"a.b.c\n\\.x.y\n"),
    (&[("delimiter", "\u{1}")], b"a\x01b\x01c\n"),
    (&[("delimiter", "a")], b"1a2a3\n"),
    (&[("quote", "'")], b"'a,b','it''s',\"c\"\n"),
    (&[("quote", "'"), ("escape", "\\")], b"'a\\'b','c\\\\d',e\n"),
    (&[("escape", "\\")], b"\"a\\\"b\",\"c\\\\d\",\"e\\f\"\n"),
    (&[("escape", "\\")], b"\"a\"\"b\",\"c\",d\n"),
    (&[("escape", "\\")], b"\"a\\\",b,c\n"),
    (&[("escape", "\\")], b"a\\\"b,c,d\n"),
    (&[("escape", "\\")], b"\"a\\\n\",b,c\n"),
    (&[("escape", "\\")], b"\"\\.\",b,c\n\\.,b,c\n"),
    (&[("escape", "\\")], b"\"\\\\\",\"\\\\\\\"\",c\n"),
    (&[("escape", "x")], b"\"ax\"b\",\"xx\",x\n"),
    (&[("escape", "\n")], b"a,b,c\n"),
    (&[("quote", "\\")], b"\\a,b\\,\\c\\\\d\\,e\n\\.\\,b,c\n"),
    (&[("quote", "\\"), ("escape", "\"")], b"\\a\"\\b\\,c,d\n"),
    (&[("null", "\\N")], b"\\N,\"\\N\",\n"),
    (&[("null", "NULL")], b"NULL,\"NULL\",null\n"),
    (&[("null", "NA")], b"NA,NAN, NA\n"),
    (&[("null", " ")], b" ,\" \",\n"),
    (&[("null", "\\.")], b"\\.,b,c\n"),
    (&[("null", "ä")], "ä,\"ä\",Ä\n".as_bytes()),
    (&[("null", "''")], b"'',\"''\",'\n"),
    (&[("force_null", "c1,c2")], b"\"\",,\"\"\n"),
    (&[("force_null", "*")], b"\"\",,\"\"\n"),
    (&[("force_null", "*"), ("null", "NULL")], b"\"NULL\",NULL,\"\"\n"),
    (&[("force_not_null", "c1,c2")], b"\"\",,\n"),
    (&[("force_not_null", "*")], b",,\n"),
    (&[("force_not_null", "*"), ("null", "NULL")], b"NULL,\"NULL\",\n"),
    (&[("force_not_null", "c1"), ("force_null", "c2")], b",\"\",\n"),
    (&[("force_not_null", "c1"), ("force_null", "c1")], b",\"\",\n\"\",,\"\"\n"),
    (&[("force_null", "*"), ("null", "a,b"), ("delimiter", ";")], b"\"a,b\";a,b;c\n"),
];

/// COPY passes over the header, and a load reads it: so they are right here, in different ways to be right.
const HEADERS: &[&[u8]] = &[
    b"c1,c2,c3\na,b,c\n",
    b"\"c1\",\"c2\",c3\na,b,c\n",
    b"c1,\"c\"2,c3\na,b,c\n",
    b"c1,c2,c3\r\na,b,c\r\n",
    b"c1,c2,c3\ra,b,c\r",
    b"c1,c2,c3\na,b,c\r\n",
    b"c1,c2,c3\r\na,b,c\n",
    b"c1,c2,c3\n",
    b"c1,c2,c3",
    b"c1,c2,c3\n\n",
    b"c1,c2,c3\n\\.\n",
    b"\xef\xbb\xbfc1,c2,c3\na,b,c\n",
    b"c1,c2,c3\n\xef\xbb\xbfa,b,c\n",
    b"c1,c2,c3\nc1,c2,c3\n",
    b"c1,c2,c3\na,b\n",
    b"c1,c2,c3\n\"a\n",
];

const TEXT: &[WithOptions] = &[
    (&[], b"a\tb\tc\n"),
    (&[], b"a\tb\tc"),
    (&[], b"a\tb\tc\r\nd\te\tf\r\n"),
    (&[], b"a\tb\tc\rd\te\tf\r"),
    (&[], b"a\tb\tc\r\nd\te\tf\n"),
    (&[], b"a\tb\tc\nd\te\tf\r\n"),
    (&[], b"\\N\t\\\\N\tN\n"),
    (&[], b"\t\t\n"),
    (&[], b"\\b\\f\\n\t\\r\\t\\v\t\\\\\n"),
    (&[], b"\\a\\q\\\"\t\\ \t\\,\n"),
    (&[], b"\\101\\7\\12\t\\1012\t\\0\n"),
    (&[], b"\\x41\\x4\\xag\t\\x\t\\xzz\n"),
    (&[], b"\\303\\244\t\\xc3\\xa4\tc\n"),
    (&[], b"\\303\tb\tc\n"),
    (&[], b"\\xff\tb\tc\n"),
    (&[], b"\\000\tb\tc\n"),
    (&[], b"a\\\tb\tc\td\n"),
    (&[], b"a\\\nb\tc\td\n"),
    (&[], b"a\\\r\nb\tc\td\r\n"),
    (&[], b"a\\\rb\tc\td\r"),
    (&[], b"a\tb\tc\\\n"),
    (&[], b"a\tb\tc\\"),
    (&[], b"\"a\tb\"\t'c\n"),
    (&[], b"a\tb\tc\n\\.\n"),
    (&[], b"a\tb\tc\n\\."),
    (&[], b"a\tb\tc\r\n\\.\r\n"),
    (&[], b"a\tb\tc\n\\.\nd\te\tf\n"),
    (&[], b"a\tb\tc\n\\.x\n"),
    (&[], b"a\tb\t\\.\n"),
    (&[], b"\\.\tb\tc\n"),
    (&[], b"\\.\n"),
    (&[], b"a\tb\tc\n\\.\r\n"),
    (&[], b""),
    (&[], b"\n"),
    (&[], b"a\tb\n"),
    (&[], b"a\tb\tc\td\n"),
    (&[], b"a b c\n"),
    (&[], b"\\\\.\tb\tc\n"),
    (&[], b"\xef\xbb\xbfa\tb\tc\n"),
    (&[], b"\xff\tb\tc\n"),
    (&[], b"a\0\tb\tc\n"),
    (&[], b"\\\\\\N\t\\N\\N\t\\N \n"),
    (&[("delimiter", "|")], b"a|b\\|c|d\n"),
    (&[("delimiter", ",")], b"a,b\\,c,\\N\n"),
    (&[("delimiter", "|"), ("null", "")], b"||\\N\n"),
    (&[("null", "NULL")], b"NULL\t\\NULL\tnull\n"),
    (&[("null", "")], b"\t\t\\N\n"),
    (&[("null", "\\N\\N")], b"\\N\\N\t\\N\tb\n"),
    (&[("null", "a\\b")], b"a\\b\tb\tc\n"),
];

/// Short bodies that have everything in them, to be cut at every byte.
pub(super) fn short_files() -> Vec<(Dialect, Vec<u8>)> {
    let csv: [&[u8]; 8] = [
        "\"a,\"\"b\",c\r\n\"ä\r\n€\",\"\"\r\n😀,\r\n".as_bytes(),
        "a,\"b\"\"\",\n\"\n\n\",\"x\"y\"z\"\n,".trim_end_matches(',').as_bytes(),
        b"a,b\rc,\"d\r\n\"\re,f\r",
        b"a,b\n\"\\.\",c\n\\.\n",
        b"a,b\n\\.x,c\n\\.,d\n",
        b"a,b\nc,\"d\ne,f\n",
        b"a,b\nc,d\r\ne,f\n",
        b"a,b\nc\n",
    ];
    let mut bodies: Vec<(Dialect, Vec<u8>)> = csv.iter().map(|body| (Dialect::csv(2), body.to_vec())).collect();
    bodies.push((Dialect::csv(2).with("escape", "\\"), b"\"a\\\"b\",\"\\\\\"\n\"\\\\\\\"\",c\\\"d\"\n".to_vec()));
    bodies.push((Dialect { header: true, ..Dialect::csv(2) }, b"\xef\xbb\xbfc1,\"c2\"\r\n\"a\",\xc3\xa4\r\n".to_vec()));
    let text = Dialect { format: Format::Text, ..Dialect::csv(2) };
    bodies.push((text.clone(), b"a\\tb\t\\N\r\n\\x41\\303\\244\\\\\t\\.x\r\n\\.\r\n".to_vec()));
    bodies.push((text, "ä\\\n€\tb\\\\\nc\\\t\t\\101\n".as_bytes().to_vec()));
    bodies
}

/// Options that fit together.
fn dialects() -> BoxedStrategy<Dialect> {
    let delimiter = select(&[",", ",", ",", ";", "\t", "|", " ", "a", "."][..]);
    let quote = select(&["\"", "\"", "\"", "'", "\\"][..]);
    let escape = select(&["", "", "", "\\", "'", "x"][..]);
    let null = select(&["", "", "\\N", "NULL", "N", " ", "\\."][..]);
    let forced = select(&["", "", "", "c1", "*"][..]);
    let parts = (1..4usize, delimiter, quote, escape, null, (forced.clone(), forced), any::<bool>());
    parts
        .prop_map(|(width, delimiter, quote, escape, null, (force_null, force_not_null), header)| {
            let given = [
                ("delimiter", delimiter, ","),
                ("quote", quote, "\""),
                ("escape", escape, ""),
                ("null", null, ""),
                ("force_null", force_null, ""),
                ("force_not_null", force_not_null, ""),
            ];
            let options = given
                .into_iter()
                .filter(|(_, value, default)| value != default)
                .map(|(name, value, _)| (name, value.to_owned()));
            Dialect { format: Format::Csv, width, options: options.collect(), header }
        })
        .prop_filter("COPY takes these options", |dialect| {
            let [delimiter, quote, null] = [dialect.get("delimiter", ","), dialect.get("quote", "\""), dialect.get("null", "")];
            delimiter != quote && !null.contains(delimiter) && !null.contains(quote)
        })
        .boxed()
}

/// Bodies of which the quotes, the line ends and nearly everything else may be wrong.
pub(super) fn csv() -> BoxedStrategy<(Dialect, Vec<u8>)> {
    dialects()
        .prop_flat_map(|dialect| {
            let quote = dialect.get("quote", "\"").to_owned();
            let escape = dialect.get("escape", &quote).to_owned();
            let delimiter = dialect.get("delimiter", ",").to_owned();
            let mut pieces: Vec<String> = ["a", "b", " ", "ä", "\n", "\r", "\r\n", ";", "\\", "\\.", "N", "\\N", ".", "\"", "'", ","]
                .map(str::to_owned)
                .into();
            pieces.extend([quote.clone(), quote.clone(), escape.clone(), delimiter.clone(), dialect.get("null", "").to_owned()]);
            let mut plain: Vec<String> = ["a", "bc", "ä", "1.5", "x y", "€", ""].map(str::to_owned).into();
            plain.push(dialect.get("null", "").to_owned());
            let raw = vec(select(pieces), 0..6).prop_map(|pieces| pieces.concat());
            let (open, inner_quote, inner_escape) = (quote.clone(), quote.clone(), escape.clone());
            let quoted = raw.clone().prop_map(move |text| {
                let escaped = if inner_escape == inner_quote { text } else { text.replace(&inner_escape, &inner_escape.repeat(2)) };
                format!("{open}{}{open}", escaped.replace(&inner_quote, &format!("{inner_escape}{inner_quote}")))
            });
            let field = prop_oneof![5 => select(plain), 4 => quoted, 1 => raw];
            body(dialect, field.boxed(), &delimiter)
        })
        .boxed()
}

/// The same in COPY's text format.
pub(super) fn text() -> BoxedStrategy<(Dialect, Vec<u8>)> {
    let delimiter = select(&["\t", "\t", ",", "|"][..]);
    let null = select(&["\\N", "\\N", "", "NULL"][..]);
    (1..4usize, delimiter, null)
        .prop_flat_map(|(width, delimiter, null)| {
            let given = [("delimiter", delimiter, "\t"), ("null", null, "\\N")];
            let options = given
                .into_iter()
                .filter(|(_, value, default)| value != default)
                .map(|(name, value, _)| (name, value.to_owned()));
            let dialect = Dialect { format: Format::Text, width, options: options.collect(), header: false };
            let pieces = [
                "a", "b", " ", "ä", "\\", "\\\\", "\\n", "\\t", "\\N", "\\.", "\\x4", "\\x41", "\\101", "\\7", "N", "1", "\"", ",", "\\\n",
                "\\\t", ".",
            ];
            let chaos = vec(select(pieces.to_vec()), 0..6).prop_map(|pieces| pieces.concat());
            let safe = select(vec!["a", "bc", "ä", "\\\\", "\\t", "\\N", "x y", ""]).prop_map(str::to_owned);
            body(dialect, prop_oneof![1 => safe, 1 => chaos].boxed(), delimiter)
        })
        .boxed()
}

/// Records of such fields, mostly as many as there are columns, and line ends, mostly of one kind.
fn body(dialect: Dialect, field: BoxedStrategy<String>, delimiter: &str) -> BoxedStrategy<(Dialect, Vec<u8>)> {
    let width = dialect.width;
    let fields = prop_oneof![24 => Just(width), 1 => Just(width + 1), 1 => Just(width - 1)];
    let record = fields.prop_flat_map(move |count| vec(field.clone(), count));
    let line_end = select(&["\n", "\n", "\r\n", "\r"][..]);
    let parts = (vec((record, 0..40u8), 1..5), line_end, 0..8u8);
    let delimiter = delimiter.to_owned();
    parts
        .prop_map(move |(records, line_end, last)| {
            let mut text = String::new();
            if dialect.header {
                text.push_str(&dialect.columns().replace(',', &delimiter));
                text.push_str(line_end);
            }
            let count = records.len();
            for (at, (fields, other)) in records.into_iter().enumerate() {
                text.push_str(&fields.join(&delimiter));
                match other {
                    _ if at + 1 == count && last == 0 => {}
                    0 => text.push_str("\r\n"),
                    1 => text.push_str(&format!("{line_end}\\.{line_end}")),
                    _ => text.push_str(line_end),
                }
            }
            (dialect.clone(), text.into_bytes())
        })
        .boxed()
}
