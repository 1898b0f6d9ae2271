//! The parameters of a database URL that the driver does not read, by libpq's names: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`.
//!
//! They are taken out before the driver sees the URL. All others are the driver's, and those that it does not know stay errors.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// How far TLS goes. Chapter "SSL Support" of libpq's manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// never
    Disable,
    /// if the server has it
    Prefer,
    /// in any case
    Require,
    /// and the server's certificate is signed by one of the roots
    VerifyCa,
    /// and made out to the host that the URL names
    VerifyFull,
}

/// Whose signature makes a server's certificate a good one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// the platform's
    System,
    /// those in a PEM file
    File(PathBuf),
}

/// A client's certificate chain and its key, each a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// What a URL says about TLS, which makes sense as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) mode: Mode,
    pub(super) roots: Option<Roots>,
    pub(super) identity: Option<Identity>,
}

impl Parameters {
    pub(super) const NONE: Parameters = Parameters { mode: Mode::Disable, roots: None, identity: None };
}

#[derive(Debug, Default)]
struct Given {
    mode: Option<String>,
    roots: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

/// Splits a URL into what the driver reads and what it does not. Nothing of the URL but parameters of these names is ever in an error.
pub(super) fn split(url: &str) -> Result<(String, Parameters), String> {
    let Some((before, query)) = find_query(url) else {
        return Ok((url.to_owned(), Given::default().parse()?));
    };
    let mut given = Given::default();
    let mut rest = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match percent_decode_str(name).decode_utf8_lossy().as_ref() {
            "sslmode" => &mut given.mode,
            "sslrootcert" => &mut given.roots,
            "sslcert" => &mut given.certificate,
            "sslkey" => &mut given.key,
            _ => {
                rest.push(pair);
                continue;
            }
        };
        let value = percent_decode_str(value).decode_utf8().map_err(|_| format!("{name} is not UTF-8"))?;
        // Empty is not given, as with libpq.
        if !value.is_empty() && place.replace(value.into_owned()).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let rest = if rest.is_empty() { before.to_owned() } else { format!("{before}?{}", rest.join("&")) };
    Ok((rest, given.parse()?))
}

/// A password may hold a question mark: the driver takes everything before the first `@` for credentials.
fn find_query(url: &str) -> Option<(&str, &str)> {
    let host = url.find('@').unwrap_or(0);
    let at = host + url[host..].find('?')?;
    Some((&url[..at], &url[at + 1..]))
}

impl Given {
    fn parse(self) -> Result<Parameters, String> {
        let roots = self.roots.map(|roots| if roots == "system" { Roots::System } else { Roots::File(roots.into()) });
        let mode = match self.mode.as_deref() {
            None if roots == Some(Roots::System) => Mode::VerifyFull,
            None | Some("prefer") => Mode::Prefer,
            Some("disable") => Mode::Disable,
            Some("require") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some("allow") => {
                return Err("sslmode=allow, which asks for TLS only when the server refuses to go without, is not offered: say \
                            prefer, require or disable"
                    .to_owned());
            }
            Some(_) => return Err("sslmode is one of disable, prefer, require, verify-ca and verify-full".to_owned()),
        };
        if roots == Some(Roots::System) && mode != Mode::VerifyFull {
            // Everybody gets a certificate from a public authority, so its signature alone says nothing.
            return Err("sslrootcert=system goes with sslmode=verify-full only".to_owned());
        }
        if matches!(mode, Mode::VerifyCa | Mode::VerifyFull) && roots.is_none() {
            return Err(
                "sslmode=verify-ca and verify-full need to know whom to trust: sslrootcert=FILE with the certificates of the \
                        authorities, or sslrootcert=system for the platform's"
                    .to_owned(),
            );
        }
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            _ => return Err("sslcert and sslkey go together".to_owned()),
        };
        Ok(Parameters { mode, roots, identity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest(url: &str) -> String {
        split(url).unwrap().0
    }

    fn parameters(query: &str) -> Parameters {
        split(&format!("postgresql://u:p@h/d?{query}")).unwrap().1
    }

    fn refused(query: &str) -> String {
        split(&format!("postgresql://u:pass%3Fword@h/d?{query}")).unwrap_err()
    }

    #[test]
    fn the_driver_gets_what_is_its_own() {
        assert_eq!(rest("postgresql://h/d"), "postgresql://h/d");
        assert_eq!(rest("postgresql://h/d?sslmode=disable"), "postgresql://h/d");
        assert_eq!(
            rest("postgresql://u:p@h/d?a=1&sslmode=require&b=%26&sslrootcert=/x%20y"),
            "postgresql://u:p@h/d?a=1&b=%26"
        );
        // The first question mark belongs to the password.
        assert_eq!(rest("postgresql://u:p?sslmode=x@h/d?sslmode=require"), "postgresql://u:p?sslmode=x@h/d");
    }

    #[test]
    fn values_are_decoded_and_mean_what_libpq_means() {
        let all = parameters("sslmode=verify%2Dfull&sslrootcert=/a%20b+c&sslcert=c.pem&sslkey=k.pem");
        assert_eq!(all.mode, Mode::VerifyFull);
        assert_eq!(all.roots, Some(Roots::File("/a b+c".into())));
        assert_eq!(all.identity, Some(Identity { certificate: "c.pem".into(), key: "k.pem".into() }));
        assert_eq!(parameters("connect_timeout=1").mode, Mode::Prefer);
        assert_eq!(parameters("sslmode=&sslrootcert=").roots, None);
        assert_eq!(parameters("sslrootcert=system").mode, Mode::VerifyFull);
        assert_eq!(parameters("sslmode=require&sslrootcert=r.pem").mode, Mode::Require);
    }

    #[test]
    fn what_makes_no_sense_is_refused_without_the_password() {
        for query in [
            "sslmode=allow",
            "sslmode=Require",
            "sslmode=require&sslmode=disable",
            "sslmode=verify-ca",
            "sslmode=verify-full",
            "sslmode=require&sslrootcert=system",
            "sslmode=disable&sslrootcert=system",
            "sslcert=c.pem",
            "sslkey=k.pem",
            "sslkey=%FF",
        ] {
            let error = refused(query);
            assert!(!error.contains("pass") && error.contains("ssl"), "{query}: {error}");
        }
    }
}
