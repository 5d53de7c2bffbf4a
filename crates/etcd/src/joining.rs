//! How a member of an etcd of fixed seats starts: with its data, as one of the first, or as one that joins the others in the
//! place of a member that lost its data. In: the seats, and what the others say. Out: how to start, after the others have been
//! told. A member that lost its data never starts with the number that it had: it would have forgotten what it voted for.

use crate::{Access, Error};

/// A seat of an etcd, which always has the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Name of its member.
    pub name: String,
    /// Where the other members reach it.
    pub peer_url: String,
    /// Where clients reach it: `host:port`.
    pub client: String,
}

/// How a member starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With its data: it knows the others.
    WithData,
    /// As one of the first, all of which start with nothing.
    First,
    /// As a new member beside these, itself included: names and peer URLs.
    Joining(Vec<(String, String)>),
    /// Not yet: there are others, and none of them answers.
    NotYet,
}

/// A member as another one lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub id: u64,
    pub peer_urls: Vec<String>,
    /// Whether it was ever there for clients.
    pub started: bool,
}

/// What to do next for a member without data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take out the member that had this seat.
    Remove(u64),
    /// Have the others take in the new one.
    Add,
    /// It may start.
    Start(Start),
}

/// Decides for the member of a seat, which has no data. `listed` is what a majority of the others says, `formed` that the
/// etcd has been there before. Pure.
pub(crate) fn next(own: &Seat, seats: &[Seat], listed: Option<&[Listed]>, formed: bool) -> Step {
    let Some(listed) = listed else {
        return Step::Start(if formed { Start::NotYet } else { Start::First });
    };
    let Some(before) = listed.iter().find(|member| member.peer_urls.contains(&own.peer_url)) else {
        return Step::Add;
    };
    if before.started {
        return Step::Remove(before.id);
    }
    let name = |url: &String| {
        let seat = seats.iter().find(|seat| seat.peer_url == *url);
        seat.map_or_else(|| url.clone(), |seat| seat.name.clone())
    };
    let urls = listed.iter().flat_map(|member| &member.peer_urls);
    Step::Start(Start::Joining(urls.map(|url| (name(url), url.clone())).collect()))
}

/// Finds out how the member of the seat `own` starts, and tells the others where they have to know. May be repeated.
///
/// # Errors
/// When the others refuse, or fall silent in the middle.
pub async fn start(
    access: &Access,
    seats: &[Seat],
    own: &Seat,
    has_data: bool,
    formed: bool,
) -> Result<Start, Error> {
    if has_data {
        return Ok(Start::WithData);
    }
    let others: Vec<_> = seats.iter().filter(|seat| seat.name != own.name).collect();
    let mut told = None;
    loop {
        let mut listed = None;
        for other in &others {
            match crate::real::joining::list(access, &other.client).await {
                Ok(members) => {
                    listed = Some((&other.client, members));
                    break;
                }
                Err(error @ Error::Denied { .. }) => return Err(error),
                Err(error) => tracing::info!(member = other.name, %error, "a member does not answer"),
            }
        }
        let step = next(own, seats, listed.as_ref().map(|(_, members)| members.as_slice()), formed);
        match (step, listed) {
            (Step::Start(start), _) => return Ok(start),
            (step, Some((through, _))) if told.as_ref() != Some(&step) => {
                match &step {
                    Step::Remove(id) => crate::real::joining::remove(access, through, *id).await?,
                    _ => crate::real::joining::add(access, through, &own.peer_url).await?,
                }
                told = Some(step);
            }
            // What was told is not to be seen yet.
            _ => return Ok(Start::NotYet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats() -> Vec<Seat> {
        let seat = |n: u8| Seat {
            name: format!("m{n}"),
            peer_url: format!("https://m{n}:2380"),
            client: format!("m{n}:2379"),
        };
        (0..3).map(seat).collect()
    }

    fn listed(id: u64, seat: u8, started: bool) -> Listed {
        Listed { id, peer_urls: vec![format!("https://m{seat}:2380")], started }
    }

    #[test]
    fn only_an_etcd_that_never_was_is_begun() {
        let seats = seats();
        assert_eq!(next(&seats[0], &seats, None, false), Step::Start(Start::First));
        assert_eq!(next(&seats[0], &seats, None, true), Step::Start(Start::NotYet));
    }

    #[test]
    fn whoever_lost_its_data_leaves_and_joins_again() {
        let seats = seats();
        let mut members = vec![listed(1, 0, true), listed(2, 1, true), listed(3, 2, true)];
        assert_eq!(next(&seats[1], &seats, Some(&members), true), Step::Remove(2));
        members.remove(1);
        assert_eq!(next(&seats[1], &seats, Some(&members), true), Step::Add);
        members.push(listed(4, 1, false));
        let cluster = ["m0", "m2", "m1"].map(|name| (name.to_owned(), format!("https://{name}:2380")));
        let joining = Step::Start(Start::Joining(cluster.to_vec()));
        assert_eq!(next(&seats[1], &seats, Some(&members), true), joining);
    }

    #[test]
    fn the_last_of_the_first_joins_those_who_were_quicker() {
        let seats = seats();
        let members = [listed(1, 0, true), listed(2, 1, true), listed(3, 2, false)];
        let step = next(&seats[2], &seats, Some(&members), false);
        assert!(matches!(step, Step::Start(Start::Joining(all)) if all.len() == 3));
    }
}
