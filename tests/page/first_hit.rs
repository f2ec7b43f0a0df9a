//! How soon a person sees the first hit: from the key that asks to the frame that shows it. With a release build:
//! `FLOODPLAIN_TEST_BINARY=$PWD/target/release/floodplain tests/browser/run first_hit --nocapture`.

use thirtyfour::Key;

use crate::stage::Stage;

const ROUNDS: usize = 20;
/// A debug build on a machine that does much else takes less.
const MOST_MS: f64 = 5_000.0;

#[ignore = "needs chromium and chromedriver; .ci/run installs them"]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_hit_is_painted_soon_after_the_key() {
    let stage = Stage::new();
    for round in 0..ROUNDS {
        stage.share("ben", &format!("protocol of meeting {round}.txt"), format!("{round}").as_bytes());
    }
    let _ana = stage.peer("ana", &[]);
    let _ben = stage.peer("ben", &[]);
    stage.daemons.until("ben", "--json status", &format!("\"hashed_files\":{ROUNDS}"));
    stage.daemons.until("ana", "--json search protocol", "\"type\":\"hit\"");
    let browser = stage.browser("ana").await;
    browser.js("addEventListener('keydown', (event) => { if (event.key === 'Enter') window.asked = event.timeStamp; }, true)", Vec::new()).await;

    let mut painted_ms = Vec::new();
    for round in 0..ROUNDS {
        browser.js("performance.clearMeasures(); document.activeElement.blur();", Vec::new()).await;
        browser.keys("/").await;
        browser.until("document.activeElement.id === 'query'").await;
        browser.keys(format!("protocol meeting {round}")).await;
        browser.keys(Key::Enter + "").await;
        // The measure ends in the frame after the one in which the row is drawn.
        let took = browser.until("(() => { const [one] = performance.getEntriesByName('first-hit'); return one && one.startTime + one.duration - window.asked; })()").await;
        browser.says("#view-search [role=row]", &format!("meeting {round}.txt")).await;
        browser.until("document.querySelector('#view-search').dataset.state === 'done'").await;
        painted_ms.push(took.as_f64().unwrap());
    }
    painted_ms.sort_by(f64::total_cmp);
    let at = |part: usize| painted_ms[(ROUNDS - 1) * part / 100];
    println!(
        "Enter to the first painted hit, {ROUNDS} times: median {:.0} ms, {:.0} to {:.0} ms",
        at(50),
        at(0),
        at(100)
    );
    assert!(at(100) < MOST_MS, "{painted_ms:?}");
    browser.done().await;
}
