//! A program without the feature `otlp` does not do as if it had it.

use std::process::Command;

#[test]
fn whoever_asks_for_traces_is_told_that_there_are_none() {
    for (variable, name) in [("PGSLUICE_OTLP_ENDPOINT", "--otlp-endpoint"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
        command.args(["serve", "--database-url", "postgresql://127.0.0.1:1/none"]);
        let output = command.env(variable, "http://127.0.0.1:4318").output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && text.contains(name) && text.contains("without the feature `otlp`"),
            "{text}"
        );
    }
}
