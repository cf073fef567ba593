//! What a seed stands for: the federation, its network and disks, and what will go wrong.

use qfzz_node::service::state::MiningConfig;

use crate::chance::Chance;

/// When every run begins, in virtual milliseconds: after genesis on the slowest clock.
pub(crate) const BEGIN: i64 = 100_000;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The station's power fails: at once, or while its disk writes next.
    Crash { station: usize, is_while_writing: bool, down_ms: i64 },
    /// The stations fall into two parts. Where it is `silent`, nobody is told for so long; messages vanish.
    Partition { sides: Vec<bool>, silent_ms: i64, lasts_ms: i64 },
    /// One link goes down.
    Cut { link: (usize, usize), lasts_ms: i64 },
}

/// All that a seed decides beforehand.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) stations: usize,
    /// Who can be connected with whom, the lower number first.
    pub(crate) links: Vec<(usize, usize)>,
    pub(crate) mining: MiningConfig,
    /// Which stations mine by themselves, one at least: the records of the others must reach these.
    pub(crate) mines: Vec<bool>,
    /// How long finding a nonce takes, about.
    pub(crate) nonce_ms: i64,
    /// The least and the most that a message takes.
    pub(crate) delay_ms: (i64, i64),
    /// How many of 100 messages are lost, come twice, or take much longer.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) stragglers: u64,
    /// How many of 100 requests are turned away.
    pub(crate) busy: u64,
    /// The least and the most that a sync of the disk takes.
    pub(crate) disk_ms: (i64, i64),
    /// By how much each station's clock is wrong.
    pub(crate) skew_ms: Vec<i64>,
    /// When each station first starts.
    pub(crate) starts: Vec<i64>,
    /// Between two submissions, about.
    pub(crate) submit_ms: i64,
    pub(crate) faults: Vec<(i64, Fault)>,
    /// The two stations that a liar tells different batches of one place, and when; none in most federations.
    pub(crate) lied_to: Option<[usize; 2]>,
    pub(crate) lied_at: i64,
    /// When all faults are over and clients fall silent.
    pub(crate) quiet_at: i64,
}

impl Scenario {
    /// The scenario of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let chance = &mut Chance::new(seed, 1);
        let stations = 3 + chance.index(7);
        let (partitions, crashes, cuts) = (chance.between(1, 2), chance.between(2, 4), chance.between(0, 3));
        let mut faults = Vec::new();
        let mut now = BEGIN + chance.between(2_000, 12_000);
        for _ in 0..partitions {
            let lasts_ms = chance.between(8_000, 30_000);
            let silent_ms = if chance.percent(30) { chance.between(3_000, 15_000) } else { 0 };
            let sides = sides(chance, stations);
            faults.push((now, Fault::Partition { sides, silent_ms, lasts_ms }));
            now += lasts_ms + chance.between(3_000, 12_000);
        }
        let quiet_at = now;
        let when = |chance: &mut Chance| chance.between(BEGIN + 2_000, quiet_at - 1_000);
        for _ in 0..crashes {
            let fault = Fault::Crash {
                station: chance.index(stations),
                is_while_writing: chance.percent(80),
                down_ms: chance.between(300, 9_000),
            };
            faults.push((when(chance), fault));
        }
        let links = links(chance, stations);
        for _ in 0..cuts {
            let link = chance.pick(&links);
            faults.push((when(chance), Fault::Cut { link, lasts_ms: chance.between(50, 8_000) }));
        }
        let miners = chance.pick(&[0, 40, 100]);
        let mut mines: Vec<bool> = (0..stations).map(|_| chance.percent(miners)).collect();
        mines[chance.index(stations)] = true;
        let most_skew = chance.pick(&[0, 500, 5_000, 50_000]);
        let fastest = chance.between(1, 60);
        let mut starts: Vec<i64> = (0..stations).map(|_| BEGIN + chance.between(0, 2_000)).collect();
        if chance.percent(40) {
            let late = chance.index(stations);
            starts[late] = when(chance);
        }
        // Of its own, so that the rest of a seed stays what it was.
        let liar = &mut Chance::new(seed, 5);
        let lied_to = liar.percent(35).then(|| {
            let first = liar.index(stations);
            [first, (first + 1 + liar.index(stations - 1)) % stations]
        });
        let lied_at = liar.between(BEGIN + 3_000, quiet_at);
        Self {
            stations,
            lied_to,
            lied_at,
            mines,
            mining: MiningConfig {
                enabled: true,
                interval_ms: chance.between(800, 4_000),
                records: chance.pick(&[5, 20, 100]),
                slot_ms: chance.between(0, 1_500),
            },
            nonce_ms: chance.pick(&[20, 300, 1_000]),
            delay_ms: (fastest, fastest + chance.pick(&[5, 80, 600])),
            loss: chance.pick(&[0, 1, 5, 15]),
            duplication: chance.pick(&[0, 3, 10]),
            stragglers: chance.pick(&[0, 2, 5]),
            busy: chance.pick(&[0, 0, 3]),
            disk_ms: chance.pick(&[(1, 2), (3, 12), (10, 200), (50, 1_500)]),
            skew_ms: (0..stations).map(|_| chance.between(-most_skew, most_skew)).collect(),
            starts,
            submit_ms: chance.between(200, 1_500),
            faults,
            quiet_at,
            links,
        }
    }
}

/// Two parts of the federation, neither of them empty.
fn sides(chance: &mut Chance, stations: usize) -> Vec<bool> {
    let mut sides: Vec<bool> = (0..stations).map(|_| chance.percent(50)).collect();
    let first = chance.index(stations);
    sides[first] = true;
    sides[(first + 1) % stations] = false;
    sides
}

/// All pairs, or enough of them that everybody can reach everybody.
fn links(chance: &mut Chance, stations: usize) -> Vec<(usize, usize)> {
    let density = chance.pick(&[0, 40, 100]);
    let mut links = Vec::new();
    for high in 1..stations {
        let parent = chance.index(high);
        links.extend((0..high).filter(|low| *low == parent || chance.percent(density)).map(|low| (low, high)));
    }
    links
}
