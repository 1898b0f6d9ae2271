//! The parameters of a database URL that the driver does not read, or not all values of, by libpq's names: `sslmode`, `sslrootcert`,
//! `sslcert`, `sslkey`, `target_session_attrs`.
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

/// Which server a session may be on. Section "Parameter Key Words" of libpq's manual, `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionAttrs {
    /// on any
    Any,
    /// on one on which it can write
    ReadWrite,
    /// on one on which it cannot
    ReadOnly,
    /// on one that is not in recovery
    Primary,
    /// on one that is
    Standby,
    /// on a standby, or on any if there is none
    PreferStandby,
}

impl SessionAttrs {
    const ALL: [(&str, SessionAttrs); 6] = [
        ("any", SessionAttrs::Any),
        ("read-write", SessionAttrs::ReadWrite),
        ("read-only", SessionAttrs::ReadOnly),
        ("primary", SessionAttrs::Primary),
        ("standby", SessionAttrs::Standby),
        ("prefer-standby", SessionAttrs::PreferStandby),
    ];

    fn from_name(name: &str) -> Result<SessionAttrs, String> {
        let found = SessionAttrs::ALL.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, attrs)| *attrs)
            .ok_or_else(|| "target_session_attrs is one of any, read-write, read-only, primary, standby and prefer-standby".to_owned())
    }

    /// What all hosts are asked for, and then again.
    pub(super) fn rounds(self) -> &'static [SessionAttrs] {
        match self {
            SessionAttrs::Any => &[SessionAttrs::Any],
            SessionAttrs::ReadWrite => &[SessionAttrs::ReadWrite],
            SessionAttrs::ReadOnly => &[SessionAttrs::ReadOnly],
            SessionAttrs::Primary => &[SessionAttrs::Primary],
            SessionAttrs::Standby => &[SessionAttrs::Standby],
            SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
        }
    }

    /// A session is what is wanted; if not, what it is.
    pub(super) fn holds(self, in_recovery: bool, read_only: bool) -> Result<(), String> {
        let read_only = read_only || in_recovery;
        let why = match self {
            SessionAttrs::ReadWrite if in_recovery => "the server is a standby in recovery",
            SessionAttrs::ReadWrite if read_only => "the session is read-only",
            SessionAttrs::ReadOnly if !read_only => "the session is not read-only",
            SessionAttrs::Primary if in_recovery => "the server is a standby in recovery",
            SessionAttrs::Standby if !in_recovery => "the server is not a standby",
            _ => return Ok(()),
        };
        Err(why.to_owned())
    }
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
    session_attrs: Option<String>,
}

/// Splits a URL into what the driver reads and what it does not. Nothing of the URL but parameters of these names is ever in an error.
pub(super) fn split(url: &str) -> Result<(String, Parameters, Option<SessionAttrs>), String> {
    let Some((before, query)) = find_query(url) else {
        return Ok((url.to_owned(), Given::default().parse()?, None));
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
            "target_session_attrs" => &mut given.session_attrs,
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
    let session_attrs = given.session_attrs.take().map(|name| SessionAttrs::from_name(&name)).transpose()?;
    Ok((rest, given.parse()?, session_attrs))
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
    fn a_server_is_what_is_wanted_or_is_not() {
        use SessionAttrs::{Any, PreferStandby, Primary, ReadOnly, ReadWrite, Standby};
        // A primary, one whose sessions are read-only by default, and a standby.
        for (attrs, takes) in [
            (Any, [true, true, true]),
            (ReadWrite, [true, false, false]),
            (ReadOnly, [false, true, true]),
            (Primary, [true, true, false]),
            (Standby, [false, false, true]),
        ] {
            let taken = [(false, false), (false, true), (true, true)].map(|(recovers, reads)| attrs.holds(recovers, reads).is_ok());
            assert_eq!((taken, attrs.rounds()), (takes, &[attrs][..]), "{attrs:?}");
        }
        assert_eq!(PreferStandby.rounds(), [Standby, Any]);
        let attrs = |query: &str| split(&format!("postgresql://a,b/d?{query}")).map(|(.., attrs)| attrs);
        assert_eq!(attrs("target_session_attrs=prefer-standby"), Ok(Some(PreferStandby)));
        assert_eq!(attrs("target_session_attrs=&a=b"), Ok(None));
        assert!(attrs("target_session_attrs=master").is_err());
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
