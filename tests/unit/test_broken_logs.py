"""Each broken log fails its one case of the conformance suite, and each case has its broken log."""

import pytest

from agent_messaging import EventLog
from agent_messaging.testing import run_virtual
from agent_messaging.testing.conformance import (
    EVENT_LOG_CASES,
    Case,
    ConformanceError,
    LogOnTrial,
    MakeLog,
)
from support.broken_logs import ending, leasing, owning, reading, separating, waking
from support.broken_logs.base import BrokenLog, Settings
from support.event_logs import HandClock

#: What each broken log fails.
FAILS: dict[type[BrokenLog], str] = {
    reading.Reorders: "events_are_read_in_the_order_in_which_they_were_appended",
    reading.DropsOne: "no_event_is_missing",
    reading.DuplicatesOne: "no_event_comes_twice",
    reading.RoundsTimes: "events_are_read_as_they_were_appended",
    reading.EmptiesTheMiddleOfABatch: "events_that_were_appended_together_are_read",
    reading.RefusesAnEmptyBatch: "nothing_is_appended_where_there_is_nothing_to_append",
    reading.ReadsBeyondTheLimit: "a_page_starts_after_its_cursor_and_ends_at_its_limit",
    reading.TakesCancelledForCompleted: "a_run_is_where_its_last_event_says",
    reading.KnowsTheLastEventLate: "a_page_and_a_record_tell_the_same_first_and_last_event",
    reading.GoesOnFillingItsPages: "a_page_that_was_read_stays_as_it_is",
    reading.ListsTheNewestRunFirst: "the_newest_runs_of_a_thread_come_oldest_first",
    reading.LooksAtTheNewestAlone: (
        "those_that_have_not_ended_are_found_behind_any_number_that_have"
    ),
    reading.StumblesOverAnUnknownRun: "a_run_that_nobody_has_is_told_as_none",
    reading.MixesUpAppends: "runs_are_appended_to_at_once",
    owning.SaysThatANewRunIsRunning: "a_claim_makes_its_run",
    owning.TakesTheLaterDigest: "a_later_claim_of_a_message_gets_the_first_run",
    owning.LetsTheLoserAppend: "a_claim_that_lost_appends_nothing",
    owning.SwallowsWhatTheLoserAppends: "a_claim_that_lost_appends_nothing",
    owning.ClaimsTwice: "of_many_claims_at_once_one_makes_its_run_and_all_get_that",
    owning.AnswersARetryAsTheFirstTime: "the_same_claim_again_wins_again",
    owning.FindsClaimsUnderWayForEver: "a_claim_is_found_after_its_run_has_ended",
    owning.KeepsClaimsForAnHour: "a_claim_is_kept_for_a_day",
    owning.AcceptsAWrongToken: "a_wrong_token_is_refused",
    owning.SwallowsEventsOfUnknownRuns: "an_append_to_an_unknown_run_is_refused",
    owning.SwallowsEventsAfterTheEnd: "a_finished_run_takes_no_more_events",
    owning.ClosesGaps: "an_event_that_skips_one_is_refused",
    owning.ComparesOnlyTheNumberOfARetry: (
        "an_event_that_comes_again_with_other_content_is_refused"
    ),
    owning.TakesEarlierEventsForARetry: (
        "an_event_that_is_not_the_last_is_refused_when_it_comes_again"
    ),
    owning.RefusesARetry: "the_very_same_events_again_are_no_error_and_are_not_appended",
    owning.TakesOnlyTheLastBatchForARetry: (
        "the_very_same_events_again_are_no_error_and_are_not_appended"
    ),
    owning.AppendsUpToWhatItRefuses: "a_batch_that_is_refused_leaves_nothing",
    owning.ShutsOutWhomItRefusedTwice: "the_owner_goes_on_after_a_refusal",
    waking.ForgetsAWakeUp: "every_append_wakes_who_follows",
    waking.WakesForSingleEventsAlone: "a_batch_wakes_who_follows_with_its_last_event",
    waking.WakesTheFirstAlone: "all_who_follow_a_run_are_woken",
    waking.KeepsFollowersForEver: "nobody_is_woken_who_follows_no_more",
    waking.WakesWhoHasJustLeft: "who_stops_following_while_others_are_woken_is_not_woken",
    waking.SaysNothingOfForgottenRuns: "a_run_that_is_forgotten_wakes_with_zero",
    waking.WakesInAThreadWhenARunIsForgotten: "a_run_that_is_forgotten_wakes_with_zero",
    waking.WakesReadersInAThread: "who_follows_and_then_reads_misses_nothing",
    waking.StumblesOverFollowersOfNothing: "a_run_that_is_unknown_may_be_followed",
    waking.WakesFromTheNextTurnOn: "who_follows_and_then_reads_misses_nothing",
    reading.EvictsDishonestly: "the_first_event_that_is_held_is_told",
    reading.EvictsFromTheMiddle: "a_page_has_no_gap_where_events_were_evicted",
    reading.EmptiesWhatItIsToEvict: "what_is_held_is_as_it_was_appended",
    reading.EvictsTheStatus: "the_status_and_the_last_event_stay_when_events_are_evicted",
    reading.EvictsClaimsWithTheirEvents: "a_claim_outlives_the_events_of_its_run",
    reading.ForgetsToComparePastAnEviction: "a_run_whose_events_are_evicted_goes_on",
    waking.StopsWhatHasNotStartedAlone: "a_stop_is_told_to_the_owner_of_the_run",
    waking.TellsOfStopsAlone: "a_notice_is_told_as_it_was_given",
    waking.TellsOfWatchersInAThread: "a_notice_is_told_as_it_was_given",
    waking.TellsEveryOwner: "a_stop_is_not_told_to_another_owner",
    waking.DeniesRunsWithNobodyToTell: "a_run_with_nobody_to_tell_may_be_stopped",
    waking.AdmitsAnotherUsersRun: "an_unknown_run_and_another_users_run_look_alike_to_a_stop",
    waking.StopsWhatHasEnded: "a_run_that_has_ended_is_not_stopped",
    waking.KeepsTelling: "nobody_is_told_of_stops_who_follows_them_no_more",
    waking.TellsTheOldOwner: "a_stop_is_told_to_who_took_the_run",
    leasing.HandsOverAnOldRecord: "an_expired_lease_is_taken_with_a_new_token",
    leasing.LetsTheTakerStartOver: "who_took_a_run_appends_to_it",
    leasing.LetsTheOldOwnerGoOn: "an_owner_whose_lease_was_taken_is_fenced_off",
    leasing.TakesWhatIsAboutToExpire: "a_lease_that_has_not_expired_is_left_alone",
    leasing.GivesARunToASecondTaker: "of_many_takers_at_once_one_gets_each_run",
    leasing.TakesAll: "no_more_runs_are_taken_than_asked_for",
    leasing.GivesTheFirstTakersTokenAgain: "a_lease_that_was_taken_expires_again",
    leasing.RenewsTwiceAtMost: "a_lease_that_is_renewed_in_time_is_left_alone",
    leasing.NeverShortensALease: "a_lease_is_renewed_for_as_long_as_is_said",
    leasing.HidesWhatWasLost: "renewing_tells_which_leases_were_lost",
    leasing.RenewsForTheTaker: "renewing_a_lease_that_was_lost_takes_nothing_back",
    leasing.RefusesAnExpiredLease: "an_expired_lease_that_nobody_took_is_still_its_owners",
    leasing.TakesWhatHasEnded: "a_run_that_has_ended_is_not_taken",
    leasing.GivesARunBackToWhoClaimsItAgain: "the_same_claim_again_leaves_a_run_to_who_took_it",
    separating.FindsRunsByTheirIdAlone: "the_same_run_id_under_two_users_is_two_runs",
    separating.WakesForAnyUsersRun: (
        "the_same_run_id_under_two_users_wakes_the_followers_of_the_one_alone"
    ),
    separating.FindsClaimsByTheirMessageAlone: "the_same_message_id_of_two_users_is_two_claims",
    separating.FindsThreadsByTheirIdAlone: "the_same_thread_id_of_two_users_is_two_threads",
    separating.LeaksAnotherUsersRun: "another_users_run_is_unknown",
    separating.ChecksTheTokenAndNotTheUser: "another_users_run_takes_no_events",
    separating.JoinsIds: "ids_that_would_join_to_the_same_text_are_kept_apart",
    separating.KnowsOneAlphabet: "ids_of_odd_characters_are_ids_as_any",
    separating.KeepsForgottenRuns: "of_a_user_who_is_forgotten_no_run_is_known",
    separating.KeepsForgottenClaims: "of_a_user_who_is_forgotten_no_claim_is_known",
    separating.SwallowsEventsOfForgottenRuns: "a_run_that_was_forgotten_takes_no_events",
    separating.StopsForgottenRuns: "a_run_that_was_forgotten_is_neither_stopped_nor_taken",
    separating.ForgetsOthersToo: "the_others_keep_what_they_have_when_a_user_is_forgotten",
    separating.StumblesOverForgettingNobody: "a_user_may_be_forgotten_again",
    separating.RemembersMessagesOfForgottenUsers: "a_user_who_was_forgotten_starts_anew",
    ending.ClaimsBehindALock: "a_claim_that_is_cancelled_was_made_or_not",
    ending.AppendsByHalves: "an_append_that_is_cancelled_was_made_wholly_or_not",
    ending.ReadsBehindALock: "a_question_that_is_cancelled_leaves_the_log_usable",
    ending.RenewsBehindALock: "a_renewal_that_is_cancelled_was_made_or_not",
    ending.RenewsThoughItIsCancelled: "a_renewal_that_is_cancelled_was_made_or_not",
    ending.LosesWhatItWasToHandOver: "runs_whose_taking_is_cancelled_can_be_taken",
    ending.StopsBehindALock: "a_stop_whose_request_is_cancelled_can_be_requested",
    ending.ForgetsByHalves: "a_user_is_forgotten_wholly_or_not_when_that_is_cancelled",
    ending.FindsRunsWhenClosed: "every_method_of_a_log_that_is_closed_raises",
    ending.StumblesOverClosingAgain: "a_log_may_be_closed_again",
    ending.StumblesOverClosingWhatWasNotUsed: "a_log_that_was_never_used_may_be_closed",
    ending.StumblesOverLeavingWhenClosed: "who_follows_may_leave_after_the_log_was_closed",
}


def made_of(broken: type[BrokenLog]) -> MakeLog:
    async def make_log(*, held_events: int | None = None) -> LogOnTrial:
        clock = HandClock()
        log: EventLog = broken(Settings(held_events or 20_000, clock.read))
        return LogOnTrial(log, clock.advance)

    return make_log


def passes(case: Case[MakeLog], broken: type[BrokenLog]) -> bool:
    """Whether a broken log passes a case."""
    try:
        run_virtual(case(made_of(broken)))
    except Exception:  # noqa: BLE001 - whatever a case or a broken log raises
        return False
    return True


@pytest.mark.parametrize("broken", FAILS, ids=lambda broken: broken.__name__)
def test_a_broken_log_fails_its_case_and_no_other(broken: type[BrokenLog]) -> None:
    assert [name for name, case in EVENT_LOG_CASES.items() if not passes(case, broken)] == [
        FAILS[broken]
    ]


def test_what_the_broken_logs_are_made_of_fails_no_case() -> None:
    assert [name for name, case in EVENT_LOG_CASES.items() if not passes(case, BrokenLog)] == []


def test_every_case_is_failed_by_a_broken_log() -> None:
    assert set(FAILS.values()) == set(EVENT_LOG_CASES)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (owning.SwallowsWhatTheLoserAppends, "wanted .*LeaseLost'>, but None came$"),
        (waking.WakesInAThreadWhenARunIsForgotten, "in the event loop, but one in a thread came$"),
        (waking.WakesReadersInAThread, "in the event loop, but one in a thread came$"),
        (waking.TellsOfWatchersInAThread, "in the event loop, but one in a thread came$"),
        (separating.WakesForAnyUsersRun, r"^Bob's, of Ann's run: wanted \[\], but \[2, 0\] came"),
        (ending.RenewsThoughItIsCancelled, "^cancelled after 1 turns .* 'None returned' came$"),
    ],
)
def test_a_case_that_fails_says_what_is_wrong(broken: type[BrokenLog], words: str) -> None:
    with pytest.raises(ConformanceError, match=words):
        run_virtual(EVENT_LOG_CASES[FAILS[broken]](made_of(broken)))
