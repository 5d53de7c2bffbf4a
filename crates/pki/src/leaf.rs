//! Leaf certificates: what to put in, and signing one by an authority.

use crate::{BACKDATE, Ca, Error, KeyAlgorithm, LEAF_VALIDITY, PrivateKey, system_random};
use jiff::Timestamp;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType,
    SerialNumber, date_time_ymd,
};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// What a certificate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Usage {
    /// TLS server.
    Server,
    /// TLS client.
    Client,
}

/// Subject alternative names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sans {
    /// DNS names; a leading `*.` is allowed.
    pub dns: BTreeSet<String>,
    /// IP addresses.
    pub ips: BTreeSet<IpAddr>,
}

impl Sans {
    /// No names at all, as client certificates have.
    pub fn none() -> Self {
        Self::default()
    }
}

/// Sorts texts into addresses and DNS names.
impl<S: AsRef<str>> FromIterator<S> for Sans {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut sans = Self::default();
        for name in names {
            match name.as_ref().parse() {
                Ok(ip) => _ = sans.ips.insert(ip),
                Err(_) => _ = sans.dns.insert(name.as_ref().to_owned()),
            }
        }
        sans
    }
}

/// A wanted leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// Subject common name: the user name for Kubernetes and etcd clients.
    pub common_name: String,
    /// Subject organizations: the groups of a Kubernetes client. At most one for now, see [`issue`].
    pub organizations: Vec<String>,
    /// Subject alternative names.
    pub sans: Sans,
    /// Extended key usages.
    pub usages: BTreeSet<Usage>,
    /// Life from `now` on, cut at the authority's end.
    pub validity: Duration,
    /// Kind of key.
    pub algorithm: KeyAlgorithm,
}

impl LeafRequest {
    /// A client certificate as kubeadm makes it: `user` as common name, one optional group.
    pub fn client(user: &str, group: Option<&str>) -> Self {
        Self {
            common_name: user.to_owned(),
            organizations: group.map(str::to_owned).into_iter().collect(),
            sans: Sans::none(),
            usages: BTreeSet::from([Usage::Client]),
            validity: LEAF_VALIDITY,
            algorithm: KeyAlgorithm::default(),
        }
    }

    /// A serving certificate as kubeadm makes it.
    pub fn server(common_name: &str, sans: Sans) -> Self {
        Self { sans, usages: BTreeSet::from([Usage::Server]), ..Self::client(common_name, None) }
    }

    /// A certificate for both ends of a connection, as etcd members need it.
    pub fn peer(common_name: &str, sans: Sans) -> Self {
        Self {
            sans,
            usages: BTreeSet::from([Usage::Server, Usage::Client]),
            ..Self::client(common_name, None)
        }
    }
}

/// A certificate and its private key, PEM. `Debug` hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPairPem {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key. A secret.
    pub key_pem: String,
}

impl std::fmt::Debug for KeyPairPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPairPem").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Makes a key and has `ca` sign a certificate for it, valid from five minutes before `now`.
///
/// More than one organization is refused: the encoder keeps one value per kind of name.
pub fn issue(request: &LeafRequest, ca: &Ca, now: Timestamp) -> Result<KeyPairPem, Error> {
    let key = PrivateKey::generate(request.algorithm)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(request)?;
    params.subject_alt_names = alternative_names(&request.sans)?;
    let end = ca.certificate().not_after();
    set_life(&mut params, now, request.validity, Some(end))?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = request.usages.iter().map(|usage| purpose(*usage)).collect();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key.pair, &ca.issuer).map_err(Error::Sign)?;
    Ok(KeyPairPem { certificate_pem: certificate.pem(), key_pem: key.pem().to_owned() })
}

fn purpose(usage: Usage) -> ExtendedKeyUsagePurpose {
    match usage {
        Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
    }
}

fn subject(request: &LeafRequest) -> Result<DistinguishedName, Error> {
    let mut name = DistinguishedName::new();
    match request.organizations.as_slice() {
        [] => {}
        [organization] => name.push(DnType::OrganizationName, organization.as_str()),
        several => return Err(Error::Name { field: "single organization", value: several.join(", ") }),
    }
    name.push(DnType::CommonName, request.common_name.as_str());
    Ok(name)
}

fn alternative_names(sans: &Sans) -> Result<Vec<SanType>, Error> {
    let dns = sans.dns.iter().map(|name| {
        let text = name.as_str().try_into();
        text.map(SanType::DnsName).map_err(|_| Error::Name { field: "DNS names", value: name.clone() })
    });
    let ips = sans.ips.iter().map(|ip| Ok(SanType::IpAddress(*ip)));
    dns.chain(ips).collect()
}

/// Sets serial number, start and end in whole seconds; `end` is the authority's own, which no leaf outlives.
pub(crate) fn set_life(
    params: &mut CertificateParams,
    now: Timestamp,
    validity: Duration,
    end: Option<Timestamp>,
) -> Result<(), Error> {
    let start = now.checked_sub(BACKDATE).map_err(|_| Error::Validity)?;
    let wanted = now.checked_add(validity).map_err(|_| Error::Validity)?;
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(start)?;
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(end.map_or(wanted, |end| end.min(wanted)))?;
    let mut serial = [0; 16];
    system_random(&mut serial)?;
    serial[0] = serial[0] & 0x7f | 0x40; // positive, and always of the same length
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn since_epoch(at: Timestamp) -> Result<Duration, Error> {
    u64::try_from(at.as_second()).map(Duration::from_secs).map_err(|_| Error::Validity)
}
