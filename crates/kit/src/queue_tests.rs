use super::*;
use crate::limits::Rest;

/// The workers of a controller.
const WORKERS: usize = 16;

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

fn queue() -> (Queue, Instant) {
    (Queue::new(WORKERS), Instant::now())
}

fn start(queue: &mut Queue, now: Instant) -> Option<String> {
    queue.start(now).map(|(key, _)| key.name)
}

/// Runs of a key that fails each time, between two moments, with an event every ten milliseconds.
fn runs_under_events(queue: &mut Queue, from: Instant, seconds: u64, wake: impl Fn(u64) -> Wake) -> u32 {
    let mut runs = 0;
    for tick in 0..seconds * 100 {
        let now = from + Duration::from_millis(tick * 10);
        queue.schedule(key("a"), now, wake(tick));
        if start(queue, now).is_some() {
            runs += 1;
            queue.finish(&key("a"), now, Ended::Failed(0));
        }
    }
    runs
}

#[test]
fn the_earlier_of_two_times_counts_and_a_key_waits_once() {
    let (mut queue, now) = queue();
    queue.place(key("a"), now + Duration::from_secs(9));
    queue.schedule(key("a"), now, Wake::Event);
    queue.place(key("a"), now + Duration::from_secs(5));
    assert_eq!(start(&mut queue, now).as_deref(), Some("a"));
    assert_eq!((queue.next_due(), queue.depth()), (None, 0));
}

#[test]
fn a_change_during_a_run_makes_one_more_run() {
    let (mut queue, now) = queue();
    queue.schedule(key("a"), now, Wake::Event);
    assert!(start(&mut queue, now).is_some());
    queue.schedule(key("a"), now, Wake::Event);
    queue.schedule(key("a"), now, Wake::Event);
    assert_eq!(start(&mut queue, now), None, "a key never runs twice at a time");
    queue.finish(&key("a"), now, Ended::Well(None));
    assert!(start(&mut queue, now).is_some());
    queue.finish(&key("a"), now, Ended::Well(None));
    assert_eq!(start(&mut queue, now), None);
}

#[test]
fn what_sums_up_others_rests_but_for_what_it_is_asked_itself() {
    let (mut queue, now) = queue();
    let ms = Duration::from_millis;
    let run = |queue: &mut Queue, now, took| {
        assert!(start(queue, now).is_some());
        queue.rests(&key("a"), now, Rest::WORK.after(took), 7);
        queue.finish(&key("a"), now, Ended::Well(None));
    };
    queue.schedule(key("a"), now, Wake::Part);
    run(&mut queue, now, ms(1));
    queue.schedule(key("a"), now, Wake::Part);
    queue.schedule(key("a"), now, Wake::Wish(7));
    assert_eq!(
        (start(&mut queue, now), queue.next_due()),
        (None, Some(now + ms(200))),
        "its own status, too"
    );
    queue.schedule(key("a"), now, Wake::Event);
    run(&mut queue, now, ms(50));
    queue.schedule(key("a"), now, Wake::Part);
    assert_eq!(queue.next_due(), Some(now + ms(1000)), "busy: twenty times as long as the run");
    queue.schedule(key("a"), now, Wake::Wish(8));
    run(&mut queue, now, Duration::from_secs(9));
    queue.schedule(key("a"), now, Wake::Part);
    assert_eq!(queue.next_due(), Some(now + Duration::from_secs(5)), "and never longer");
}

#[test]
fn failures_back_off_and_a_success_forgets_them() {
    let (mut queue, mut now) = queue();
    queue.schedule(key("a"), now, Wake::Event);
    for expected in [200, 400, 800] {
        assert!(start(&mut queue, now).is_some());
        queue.finish(&key("a"), now, Ended::Failed(0));
        assert_eq!(queue.next_due(), Some(now + Duration::from_millis(expected)));
        now += Duration::from_millis(expected);
    }
    assert!(start(&mut queue, now).is_some());
    queue.finish(&key("a"), now, Ended::Well(None));
    assert_eq!(queue.next_due(), None);
    queue.schedule(key("a"), now, Wake::Event);
    assert!(start(&mut queue, now).is_some(), "at once again");
}

#[test]
fn events_leave_a_few_seconds_of_a_back_off() {
    let (mut queue, now) = queue();
    let runs = runs_under_events(&mut queue, now, 40, |_| Wake::Event);
    assert_eq!(runs, 12, "0, 0.2, 0.6, 1.4, 3, 6.2, then every five seconds");
    let (mut queue, now) = self::queue();
    let runs = runs_under_events(&mut queue, now, 40, |_| Wake::Wish(0));
    assert_eq!(runs, 12, "its own status is an event like any other");
}

#[test]
fn an_event_during_the_run_that_fails_does_not_cut_it_short_either() {
    let (mut queue, now) = queue();
    queue.schedule(key("a"), now, Wake::Wish(0));
    assert!(start(&mut queue, now).is_some());
    queue.schedule(key("a"), now, Wake::Wish(0));
    queue.finish(&key("a"), now, Ended::Failed(0));
    assert_eq!(queue.next_due(), Some(now + FIRST_RETRY));
}

#[test]
fn a_changed_wish_is_heard_at_once_but_does_not_spin() {
    let (mut queue, now) = queue();
    runs_under_events(&mut queue, now, 60, |_| Wake::Event);
    let now = now + Duration::from_secs(60);
    assert!(queue.next_due().unwrap() > now + Duration::from_secs(1), "in its back-off");
    queue.schedule(key("a"), now, Wake::Wish(7));
    assert!(start(&mut queue, now).is_some(), "who mends the object does not wait");
    queue.schedule(key("a"), now, Wake::Wish(8));
    queue.finish(&key("a"), now, Ended::Failed(7));
    assert_eq!(queue.next_due(), Some(now + FIRST_RETRY), "changed while it ran");
    let runs = runs_under_events(&mut queue, now + FIRST_RETRY, 10, |tick| Wake::Wish(tick + 1));
    assert!(runs <= 51, "{runs} runs in ten seconds: a wish that varies is slowed too");
}

#[test]
fn a_timer_is_cut_short_by_events() {
    let (mut queue, now) = queue();
    queue.schedule(key("a"), now, Wake::Event);
    start(&mut queue, now);
    queue.finish(&key("a"), now, Ended::Well(Some(Duration::from_secs(60))));
    assert_eq!(start(&mut queue, now), None);
    queue.schedule(key("a"), now, Wake::Event);
    assert!(start(&mut queue, now).is_some(), "it waits, it did not fail");
}

#[test]
fn what_varies_its_status_at_every_run_does_not_spin() {
    let (mut queue, begin) = queue();
    let mut runs = 0;
    for tick in 0..6000 {
        let now = begin + Duration::from_millis(tick * 10);
        queue.schedule(key("a"), now, Wake::Event);
        if start(&mut queue, now).is_some() {
            runs += 1;
            queue.finish(&key("a"), now, Ended::Well(None));
        }
    }
    assert!((BUSY_RUNS..300).contains(&runs), "{runs} runs in a minute");
    let later = begin + Duration::from_secs(60) + CALM_AFTER;
    queue.schedule(key("b"), later, Wake::Event);
    start(&mut queue, later);
    queue.finish(&key("b"), later, Ended::Well(None));
    assert_eq!((queue.busy.0.of.len(), queue.busy.0.order.len()), (1, 1), "who rested is forgotten");
}

#[test]
fn a_namespace_with_many_keys_leaves_workers_to_others() {
    let mut queue = Queue::new(12);
    let now = Instant::now();
    for n in 0..200 {
        queue.schedule(Key::new("greedy", n.to_string()), now, Wake::Event);
    }
    let greedy: Vec<_> = std::iter::from_fn(|| queue.start(now)).collect();
    assert_eq!((greedy.len(), queue.depth()), (12, 188), "the others keep four of sixteen");
    queue.schedule(Key::new("small", "a"), now, Wake::Event);
    assert_eq!(queue.start(now).unwrap().0, Key::new("small", "a"), "though it asked last");
    queue.finish(&greedy[0].0, now, Ended::Well(None));
    assert_eq!(queue.start(now).unwrap().0.namespace, "greedy");
    assert!(queue.start(now).is_none());
}

#[test]
fn namespaces_take_turns_and_within_one_the_order_stays() {
    let (mut queue, now) = queue();
    for (namespace, name) in [("a", "1"), ("a", "2"), ("a", "3"), ("b", "4"), ("", "5"), ("b", "6")] {
        queue.schedule(Key::new(namespace, name), now, Wake::Event);
    }
    let order: Vec<_> = std::iter::from_fn(|| start(&mut queue, now)).collect();
    assert_eq!(order, ["1", "4", "5", "2", "6", "3"]);
}

#[test]
fn cluster_scoped_objects_have_all_workers() {
    let mut queue = Queue::new(2);
    let now = Instant::now();
    for n in 0..5 {
        queue.schedule(Key::new("", n.to_string()), now, Wake::Event);
    }
    assert_eq!(std::iter::from_fn(|| queue.start(now)).count(), 5);
}

#[test]
fn the_time_that_a_key_was_due_is_told() {
    let (mut queue, now) = queue();
    queue.schedule(key("a"), now, Wake::Event);
    let (_, waited) = queue.start(now + Duration::from_secs(3)).unwrap();
    assert_eq!(waited, Duration::from_secs(3));
}
