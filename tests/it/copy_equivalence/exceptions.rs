//! Where a load does not do as COPY does. Each is in docs/COPY-EQUIVALENCE.md too, and each is a refusal: whatever is loaded is what COPY
//! would have stored.

/// By the short name of the problem that a load answers, and whether the body is one that it may answer so.
type Exception = (&'static str, fn(&[u8]) -> bool);

const EXCEPTIONS: [Exception; 3] =
    [("empty-body", |body| body.is_empty()), ("no-rows", |_| true), ("end-of-data-marker", has_data_after_marker)];

/// The exception that a refusal falls under.
pub(super) fn explain(problem: &str, body: &[u8]) -> Option<&'static str> {
    let name = problem.strip_prefix("urn:problem-type:pgsluice:")?;
    let (name, applies) = EXCEPTIONS.iter().find(|(known, _)| *known == name)?;
    applies(body).then_some(name)
}

/// A line that holds only `\.`, and something after it.
fn has_data_after_marker(body: &[u8]) -> bool {
    let ends = [&b"\\.\r\n"[..], b"\\.\n", b"\\.\r"];
    (0..body.len()).any(|at| {
        let starts_line = at == 0 || matches!(body[at - 1], b'\n' | b'\r');
        let rest = ends.iter().find_map(|end| body[at..].strip_prefix(*end));
        starts_line && rest.is_some_and(|rest| !rest.is_empty())
    })
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
