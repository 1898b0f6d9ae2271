//! Secrets as they may be shown.

const MASK: &str = "***";
/// What a URL's parameters may be called that are secrets.
const SECRET_PARAMETERS: [&str; 2] = ["password", "sslpassword"];

/// A URL without its passwords; of anything else nothing is shown.
pub(super) fn masked(secret: &str) -> String {
    let Some((scheme, rest)) = secret.split_once("://") else {
        return MASK.to_owned();
    };
    // A password may hold what it should not, an `@` or a slash: what could be part of it is.
    let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(login, place)| (Some(login), place));
    let login = login.map(|login| match login.split_once(':') {
        Some((user, _)) => format!("{user}:{MASK}@"),
        None => format!("{login}@"),
    });
    let (place, parameters) = place.split_once('?').map_or((place, None), |(place, parameters)| (place, Some(parameters)));
    let parameters = parameters.map(|parameters| {
        let shown: Vec<String> = parameters.split('&').map(masked_parameter).collect();
        format!("?{}", shown.join("&"))
    });
    format!("{scheme}://{}{place}{}", login.unwrap_or_default(), parameters.unwrap_or_default())
}

fn masked_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        // Names can be written with %-escapes too.
        Some((name, _)) if name.contains('%') || SECRET_PARAMETERS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) => {
            format!("{name}={MASK}")
        }
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (url, shown) in [
            ("postgresql://u:geheim@h:5432/d", "postgresql://u:***@h:5432/d"),
            ("postgresql://u:ge@he/i?m@h/d", "postgresql://u:***@h/d"),
            ("postgresql://u:ge:heim@a,b/d?sslmode=require", "postgresql://u:***@a,b/d?sslmode=require"),
            ("postgresql://h/d?user=u&password=geheim", "postgresql://h/d?user=u&password=***"),
            ("postgresql://h/d?PassWord=geheim&a", "postgresql://h/d?PassWord=***&a"),
            ("postgresql://h/d?p%61ssword=geheim", "postgresql://h/d?p%61ssword=***"),
            ("postgresql://u@h/d", "postgresql://u@h/d"),
            ("postgresql:///d", "postgresql:///d"),
            ("host=h password=geheim", "***"),
            ("geheim", "***"),
            ("", "***"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
