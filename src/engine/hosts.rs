//! The hosts that a database URL names, and how to come to the one that is wanted: libpq's `target_session_attrs`.
//!
//! One host after the other is tried, each for a moment and then for its part of the time that there is. The one that served last comes first: after a failover
//! nobody waits for the dead primary again, and one that comes back does not take anything over because it stands first in the URL.

use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode};
use tokio_postgres::{AsyncMessage, Client, Config, Connection};
use tokio_util::task::AbortOnDropHandle;

use super::timeline::Position;
use super::tls::Tls;
use super::url::{self, SessionAttrs};
use super::{causes, in_time, unreachable};
use crate::error::DatabaseError;

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;

/// What a host that says nothing gets at first, if there are others.
const MOMENT: Duration = Duration::from_secs(1);
/// As finely as timers are told apart.
const TICK: Duration = Duration::from_millis(20);

/// How a session stands: on a server in recovery or not, and whether it may write.
const STANDING: &str = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";

/// The hosts of one URL.
#[derive(Debug)]
pub(super) struct Hosts {
    named: Vec<Named>,
    tls: Tls,
    wanted: SessionAttrs,
    balanced: bool,
    /// which one served last
    last: AtomicUsize,
    /// for all of them together
    connect_timeout: Duration,
    /// where it goes that a session was told something (NOTIFY)
    tell: Option<mpsc::Sender<()>>,
}

/// One host, with how to connect to it.
#[derive(Debug)]
struct Named {
    /// by name, socket directory or address; what TLS verifies
    host: Host,
    port: u16,
    config: Config,
}

/// A driver's client with the task that moves its bytes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) io: JoinHandle<()>,
    /// of a primary that was chosen among several hosts
    position: Option<Position>,
}

impl Link {
    /// The server has not been left behind by a failover.
    pub(super) fn is_current(&self) -> bool {
        self.position.is_none_or(Position::is_current)
    }
}

impl Hosts {
    /// Reads a `postgresql://…` URL for sessions that write: how to connect, and by what TLS. Of several hosts the one is wanted that can be
    /// written to, if the URL does not say otherwise. TCP keepalives find a dead peer; a `tcp_user_timeout` is not set,
    /// because on Linux it also ends a connection whose peer is alive and just does not read, which is what a PostgreSQL that is held up
    /// looks like.
    ///
    /// # Errors
    /// The URL is not one, without repeating it (it may hold a password), or a file that it names cannot be used.
    pub(super) fn to_write(url: &str, application_name: &str, connect_timeout: Duration) -> Result<Hosts, DatabaseError> {
        Hosts::new(url, to_write, application_name, connect_timeout)
    }

    /// The same for sessions that only read, on any server if the URL does not say otherwise.
    ///
    /// # Errors
    /// Likewise.
    pub(super) fn to_read(url: &str, application_name: &str, connect_timeout: Duration) -> Result<Hosts, DatabaseError> {
        let any = |given: Option<SessionAttrs>, _| Ok(given.unwrap_or(SessionAttrs::Any));
        Hosts::new(url, any, application_name, connect_timeout)
    }

    fn new(
        url: &str,
        choose: impl FnOnce(Option<SessionAttrs>, usize) -> Result<SessionAttrs, String>,
        application_name: &str,
        connect_timeout: Duration,
    ) -> Result<Hosts, DatabaseError> {
        if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
            return Err(unreachable("the database URL must begin with postgresql://"));
        }
        let unreadable = |why: String| unreachable(format!("the database URL cannot be read: {why}"));
        let (url, parameters, wanted) = url::split(url).map_err(unreadable)?;
        let mut config = Config::from_str(&url).map_err(|error| unreadable(causes(&error)))?;
        let tls = Tls::new(parameters, &mut config).map_err(|error| unreachable(error.to_string()))?;
        if config.get_application_name().is_none() {
            config.application_name(application_name);
        }
        config.connect_timeout(connect_timeout);
        let named = each_host(&config).map_err(unreadable)?;
        Ok(Hosts {
            wanted: choose(wanted, named.len()).map_err(unreadable)?,
            named,
            tls,
            balanced: config.get_load_balance_hosts() == LoadBalanceHosts::Random,
            last: AtomicUsize::new(0),
            connect_timeout,
            tell: None,
        })
    }

    /// The same hosts, always tried in the same order.
    pub(super) fn one_after_the_other(self) -> Hosts {
        Hosts { balanced: false, ..self }
    }

    /// The same hosts, whose sessions pass on that they were told something.
    pub(super) fn telling(self, tell: mpsc::Sender<()>) -> Hosts {
        Hosts { tell: Some(tell), ..self }
    }

    pub(super) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// Connects to the first host that is there and is what is wanted.
    ///
    /// # Errors
    /// None is: what each of them said.
    pub(super) async fn connect(&self) -> Result<Link, DatabaseError> {
        let until = Instant::now() + self.connect_timeout;
        let order = self.order()?;
        let mut failures = Vec::new();
        let mut rounds = self.wanted.rounds();
        while let [wanted, later @ ..] = rounds {
            let within = time_left(until, rounds.len());
            if let Some(link) = self.round(*wanted, order.clone(), within, &mut failures).await {
                return Ok(link);
            }
            rounds = later;
        }
        Err(self.summed_up(failures))
    }

    /// Tries the hosts in this order. Of several, those that say nothing get a moment first and their whole part of the time only when all
    /// others have had theirs: a host that is silent is most likely dead, and whoever waits for it waits for nothing.
    async fn round(
        &self,
        wanted: SessionAttrs,
        mut candidates: Vec<usize>,
        within: Duration,
        failures: &mut Vec<(usize, DatabaseError)>,
    ) -> Option<Link> {
        let until = Instant::now() + within;
        let mut at_most = if candidates.len() > 1 { MOMENT } else { within };
        while !candidates.is_empty() {
            let mut silent = Vec::new();
            for (tried, index) in candidates.iter().enumerate() {
                let part = time_left(until, candidates.len() - tried);
                let began = Instant::now();
                // Boxed: the driver's way to a connection is long, and whoever finds an idle one need not carry it around.
                match Box::pin(self.open(&self.named[*index], wanted, part.min(at_most))).await {
                    Ok(link) => {
                        self.last.store(*index, Relaxed);
                        return Some(link);
                    }
                    Err(_) if at_most < part && began.elapsed() + TICK >= at_most => silent.push(*index),
                    Err(error) => failures.push((*index, error)),
                }
            }
            (candidates, at_most) = (silent, within);
        }
        None
    }

    /// In which order the hosts are tried: as a ring that begins at one of them.
    fn order(&self) -> Result<Vec<usize>, DatabaseError> {
        let count = self.named.len();
        let mut first = self.last.load(Relaxed);
        if self.balanced {
            first = random()?;
        }
        Ok((0..count).map(|step| (first + step) % count).collect())
    }

    /// Tries a host at each of its addresses.
    async fn open(&self, named: &Named, wanted: SessionAttrs, within: Duration) -> Result<Link, DatabaseError> {
        let until = Instant::now() + within;
        let mut ways = in_time(within, named.ways()).await?;
        if self.balanced && !ways.is_empty() {
            let first = random()? % ways.len();
            ways.rotate_left(first);
        }
        let mut left = ways.len();
        let mut failure = unreachable(format!("there is no address of {}", named.name()));
        for way in ways {
            let within = time_left(until, left);
            left -= 1;
            match in_time(within, self.open_one(&way, wanted)).await {
                Ok(link) => return Ok(link),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn open_one(&self, way: &Config, wanted: SessionAttrs) -> Result<Link, DatabaseError> {
        let (client, connection) = way.connect(self.tls.clone()).await?;
        // Who gives up while an answer is owed closes the connection; the driver by itself would wait for that answer.
        let io = AbortOnDropHandle::new(tokio::spawn(move_bytes(connection, self.tell.clone())));
        let mut admitted = None;
        if wanted != SessionAttrs::Any {
            let (standing, position) = tokio::join!(client.query_typed_one(STANDING, &[]), Position::of(&client));
            let standing = standing?;
            wanted.holds(standing.try_get(0)?, standing.try_get(1)?).map_err(unreachable)?;
            admitted = position?.map(Position::admitted).transpose()?;
        }
        Ok(Link { client, io: io.detach(), position: admitted })
    }

    /// One host's error as it is; of several, what each has said, and as a kind of error only what all of them have said: that one is full does
    /// not mean that the one that is wanted lives.
    fn summed_up(&self, mut failures: Vec<(usize, DatabaseError)>) -> DatabaseError {
        if self.named.len() == 1 {
            return failures.swap_remove(failures.len() - 1).1;
        }
        let said: Vec<String> = failures.iter().map(|(index, error)| format!("{}: {error}", self.named[*index].name())).collect();
        let mut kinds = failures.into_iter().map(|(_, error)| error.sqlstate);
        let first = kinds.next().flatten();
        let sqlstate = if kinds.all(|kind| kind == first) { first } else { None };
        DatabaseError { sqlstate, message: said.join("; "), ..DatabaseError::default() }
    }
}

impl Named {
    fn name(&self) -> String {
        match &self.host {
            Host::Tcp(name) => format!("{name}:{}", self.port),
            Host::Unix(directory) => format!("{}:{}", directory.display(), self.port),
        }
    }

    /// A name may stand for several servers, so each of its addresses is a way of its own.
    async fn ways(&self) -> Result<Vec<Config>, DatabaseError> {
        let Host::Tcp(name) = &self.host else {
            return Ok(vec![self.config.clone()]);
        };
        if !self.config.get_hostaddrs().is_empty() {
            return Ok(vec![self.config.clone()]);
        }
        let found = tokio::net::lookup_host((name.as_str(), self.port)).await;
        let found = found.map_err(|error| unreachable(format!("error connecting to server: {error}")))?;
        Ok(found.map(|address| self.config.clone().hostaddr(address.ip()).clone()).collect())
    }
}

async fn move_bytes<S, T>(mut connection: Connection<S, T>, tell: Option<mpsc::Sender<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    while let Some(message) = messages.next().await {
        match (message, &tell) {
            (Ok(AsyncMessage::Notification(_)), Some(tell)) => {
                let _ = tell.try_send(());
            }
            (Ok(AsyncMessage::Notice(notice)), _) => tracing::debug!(%notice, "a database has a notice"),
            (Ok(_), _) => {}
            (Err(error), _) => {
                tracing::debug!(%error, "a database connection ended");
                break;
            }
        }
    }
}

fn random() -> Result<usize, DatabaseError> {
    let mut random = [0];
    getrandom::fill(&mut random).map_err(|error| unreachable(format!("the system gives no random bytes: {error}")))?;
    Ok(usize::from(random[0]))
}

/// What there is left of a time for each of so many.
fn time_left(until: Instant, parts: usize) -> Duration {
    until.saturating_duration_since(Instant::now()) / u32::try_from(parts).unwrap_or(u32::MAX)
}

/// A configuration for each host, which is otherwise the URL's.
fn each_host(url: &Config) -> Result<Vec<Named>, String> {
    let (hosts, addresses, ports) = (url.get_hosts(), url.get_hostaddrs(), url.get_ports());
    // A server that is named by its address alone shows a certificate for its address.
    let by_address: Vec<Host> = addresses.iter().map(|address| Host::Tcp(address.to_string())).collect();
    let hosts: Vec<Host> = if hosts.is_empty() { by_address } else { hosts.iter().flat_map(each_named).collect() };
    if hosts.is_empty() {
        return Err("it names no host".to_owned());
    }
    if !addresses.is_empty() && addresses.len() != hosts.len() {
        return Err("there must be as many hostaddr as hosts, or none".to_owned());
    }
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err("there must be as many ports as hosts, or one".to_owned());
    }
    let named = hosts.iter().enumerate().map(|(index, host)| {
        let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
        let mut config = without_hosts(url);
        config.port(port);
        match host {
            Host::Tcp(name) => config.host(name),
            Host::Unix(directory) => config.host_path(directory),
        };
        match (host, addresses.get(index)) {
            (_, Some(address)) => config.hostaddr(*address),
            // There is no TLS on a socket, whatever the other hosts need.
            (Host::Unix(_), None) => config.ssl_mode(SslMode::Disable),
            (Host::Tcp(_), None) => &mut config,
        };
        Named { host: host.clone(), port, config }
    });
    Ok(named.collect())
}

/// `?host=a,b` are two hosts, which the driver takes for one.
fn each_named(host: &Host) -> Vec<Host> {
    match host {
        Host::Tcp(names) => names.split(',').map(|name| Host::Tcp(name.to_owned())).collect(),
        Host::Unix(_) => vec![host.clone()],
    }
}

/// All that a URL says but its hosts, which the driver has no way to take out.
fn without_hosts(url: &Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = url.get_user() {
        config.user(user);
    }
    if let Some(password) = url.get_password() {
        config.password(password);
    }
    if let Some(dbname) = url.get_dbname() {
        config.dbname(dbname);
    }
    if let Some(options) = url.get_options() {
        config.options(options);
    }
    if let Some(name) = url.get_application_name() {
        config.application_name(name);
    }
    if let Some(timeout) = url.get_connect_timeout() {
        config.connect_timeout(*timeout);
    }
    if let Some(timeout) = url.get_tcp_user_timeout() {
        config.tcp_user_timeout(*timeout);
    }
    config
        .ssl_mode(url.get_ssl_mode())
        .ssl_negotiation(url.get_ssl_negotiation())
        .channel_binding(url.get_channel_binding())
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    config
}

/// What a session that writes has to be on.
fn to_write(given: Option<SessionAttrs>, hosts: usize) -> Result<SessionAttrs, String> {
    match given {
        Some(SessionAttrs::ReadOnly | SessionAttrs::Standby | SessionAttrs::PreferStandby) => {
            Err("the service writes there, so target_session_attrs is read-write, primary or any".to_owned())
        }
        Some(given) => Ok(given),
        None if hosts > 1 => Ok(SessionAttrs::ReadWrite),
        None => Ok(SessionAttrs::Any),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Result<Hosts, String> {
        Hosts::to_write(url, "test", Duration::from_secs(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_host_has_its_port_and_all_that_is_common() {
        let hosts = hosts("postgresql://u:p@a:1,[::1]:2,%2Frun%2Fpg/d?options=-cx%3D1&tcp_user_timeout=7&sslmode=require").unwrap();
        let names: Vec<String> = hosts.named.iter().map(Named::name).collect();
        assert_eq!(names, ["a:1", "::1:2", "/run/pg:5432"]);
        let modes: Vec<SslMode> = hosts.named.iter().map(|named| named.config.get_ssl_mode()).collect();
        assert_eq!(modes, [SslMode::Require, SslMode::Require, SslMode::Disable]);
        // With an address it is no socket that is connected to.
        let addressed = self::hosts("postgresql://%2Frun%2Fpg/d?hostaddr=127.0.0.1&sslmode=require").unwrap();
        assert_eq!(addressed.named[0].config.get_ssl_mode(), SslMode::Require);
        for named in &hosts.named {
            let config = &named.config;
            assert_eq!((config.get_user(), config.get_password()), (Some("u"), Some(&b"p"[..])));
            assert_eq!((config.get_dbname(), config.get_options()), (Some("d"), Some("-cx=1")));
            assert_eq!(config.get_application_name(), Some("test"));
            assert_eq!((config.get_hosts().len(), config.get_ports()), (1, &[named.port][..]));
            assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(7)));
        }
    }

    #[test]
    fn of_several_hosts_the_one_is_wanted_that_can_be_written_to() {
        for (url, wanted) in [
            ("postgresql://a/d", SessionAttrs::Any),
            ("postgresql://a,b/d", SessionAttrs::ReadWrite),
            ("postgresql://a,b/d?target_session_attrs=any", SessionAttrs::Any),
            ("postgresql://a/d?target_session_attrs=primary", SessionAttrs::Primary),
        ] {
            assert_eq!(hosts(url).unwrap().wanted, wanted, "{url}");
        }
    }

    #[test]
    fn sessions_that_only_read_may_be_on_any_server() {
        for (url, wanted) in [
            ("postgresql://a,b/d", SessionAttrs::Any),
            ("postgresql://a,b/d?target_session_attrs=prefer-standby", SessionAttrs::PreferStandby),
        ] {
            assert_eq!(Hosts::to_read(url, "test", Duration::from_secs(1)).unwrap().wanted, wanted, "{url}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (url, complaint) in [
            ("postgresql://a,b/d?target_session_attrs=standby", "the service writes there"),
            ("postgresql://a,b/d?target_session_attrs=read-only", "the service writes there"),
            ("postgresql://a,b/d?target_session_attrs=master", "target_session_attrs is one of"),
            ("postgresql:///d", "names no host"),
            ("postgresql://a,b/d?hostaddr=127.0.0.1", "as many hostaddr as hosts"),
            ("postgresql:///d?host=a,b,c&port=1,2", "as many ports as hosts"),
            ("postgresql:///d?host=a,b&port=1,2,3", "as many ports as hosts"),
        ] {
            let error = hosts(url).unwrap_err();
            assert!(error.contains(complaint), "{url}: {error}");
        }
    }

    #[test]
    fn the_one_that_served_last_comes_first() {
        let hosts = hosts("postgresql://a,b,c/d").unwrap();
        assert_eq!(hosts.order().unwrap(), [0, 1, 2]);
        hosts.last.store(2, Relaxed);
        assert_eq!(hosts.order().unwrap(), [2, 0, 1]);
    }
}
