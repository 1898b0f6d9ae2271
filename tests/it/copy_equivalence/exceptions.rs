//! Where a load does not do as COPY does. Each is in docs/COPY-EQUIVALENCE.md too, and each is a refusal: whatever is loaded is what COPY
//! would have stored.

/// By the short name of the problem that a load answers, and whether the body is one that it may answer so.
type Exception = (&'static str, fn(&[u8]) -> bool);

const EXCEPTIONS: [Exception; 4] = [
    ("empty-body", |body| body.is_empty()),
    ("no-rows", |_| true),
    ("end-of-data-marker", |body| body.windows(2).any(|pair| pair == b"\\.")),
    ("invalid-option", |_| true),
];

/// The exception that a refusal falls under.
pub(super) fn explain(problem: &str, body: &[u8]) -> Option<&'static str> {
    let name = problem.strip_prefix("urn:problem-type:pgsluice:")?;
    let (name, applies) = EXCEPTIONS.iter().find(|(known, _)| *known == name)?;
    applies(body).then_some(name)
}

/// The page lists these exceptions, and no others.
#[test]
fn the_page_lists_the_exceptions() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/COPY-EQUIVALENCE.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, exceptions) = page.split_once("## Exceptions").unwrap();
    let listed: Vec<&str> = exceptions.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(listed, EXCEPTIONS.map(|(name, _)| name));
}
