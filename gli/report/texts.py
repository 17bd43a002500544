"""The fixed words of every report, in English and Korean: one table. `gli.report.korean` says the rest in Korean."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache

LANGUAGES = ("en", "ko")

# fmt: off
_WORDS: Mapping[str, tuple[str, str]] = {
    # outcomes of a check and of an item, as `Outcome` and `ItemLine.outcome` name them
    "missing": ("missing", "보고 없음"),
    "failed": ("failed", "실패"),
    "unknown": ("unknown", "확인 불가"),
    "blocked": ("blocked", "원인에 막힘"),
    "pending": ("pending", "서명 대기"),
    "waived": ("waived", "예외 승인"),
    "not-applicable": ("not applicable", "해당 없음"),
    "passed": ("passed", "통과"),
    # the verdict
    "GO": ("GO", "GO(배포 가능)"),
    "NO-GO": ("NO-GO", "NO-GO(배포 불가)"),
    "all phases": ("all phases", "모든 단계"),
    "replayed": ("judged again from a recording", "기록으로 다시 판정"),
    "pre-deploy": ("pre-deploy", "배포 전"),
    "paused": ("paused", "일시 정지"),
    "post-deploy": ("post-deploy", "배포 후"),
    "on-call": ("on-call", "당직 진단"),
    "environment": ("environment", "환경"),
    "phase": ("phase", "단계"),
    "vantage": ("seen from", "확인 위치"),
    "merged": ("merged of", "합친 실행"),
    "started": ("started", "시작"),
    "finished": ("finished", "종료"),
    "expires": ("valid until", "유효 기한"),
    "duration": ("duration", "소요 시간"),
    "account": ("AWS account", "AWS 계정"),
    "reasons": ("reasons", "사유"),
    # root causes
    "root cause": ("root cause", "근본 원인"),
    "root causes": ("root causes", "근본 원인"),
    "expected": ("expected", "기대"),
    "seen": ("seen", "관측"),
    "to do": ("to do", "할 일"),
    "explains": ("explains", "이 원인에 막힌 검사"),
    "blocked by": ("blocked by", "원인"),
    "before the deploy": ("red before the deploy already", "배포 전부터 실패"),
    # the checklist
    "checklist": ("checklist", "체크리스트"),
    "item": ("item", "항목"),
    "to sign": ("to be signed by people", "사람의 서명 필요"),
    "signed": ("signed by {by}, {n} of {needed}", "서명: {by}, {needed}명 중 {n}명"),
    "unsigned": ("signed by nobody, 0 of {needed}", "서명 없음, {needed}명 필요"),
    # checks
    "check": ("check", "검사"),
    "checks": ("checks", "검사"),
    "target": ("target", "대상"),
    "outcome": ("outcome", "결과"),
    "outcomes": ("outcomes", "결과"),
    "severity": ("severity", "심각도"),
    "block": ("block", "차단"),
    "warn": ("warn", "경고"),
    "both": ("both", "배포 전후"),
    "internet": ("internet", "인터넷"),
    "vpc": ("vpc", "VPC"),
    "message": ("message", "내용"),
    "warning": ("warning", "경고"),
    "warnings": ("{n} of them warnings, which do not hold a verdict", "그중 {n}건은 판정을 막지 않는 경고"),
    "waiver": ("accepted by {owner} until {expires}: {reason}", "{owner} 승인, {expires}까지: {reason}"),
    "not green": ("not green", "통과하지 못한 검사"),
    "attempts": ("passed on attempt {n}", "{n}번째 시도에서 통과"),
    "count": ("{n} {what}", "{what} {n}"),
    "later attempt": ("passed on a later attempt", "재시도 후 통과"),
    "nothing judged": ("nothing judged", "판정한 것 없음"),
    # what was judged of the catalogue
    "coverage": ("coverage", "검사 범위"),
    "covered": (
        "{judged} of {checks} checks ({percent} %), {verified} of {parts} parts",
        "검사 {checks}종 중 {judged}종({percent} %), 부분 {parts}곳 중 {verified}곳",
    ),
    "part": ("part", "부분"),
    "state": ("state", "상태"),
    "why": ("why", "이유"),
    "verified": ("verified", "확인됨"),
    "not-verified": ("not verified", "확인되지 않음"),
    "absent": ("absent", "없음"),
    "left-out": ("left out", "설명되지 않음"),
    # compared with earlier runs
    "since the last run": ("since the last whole run", "직전 전체 실행 대비"),
    "since pre-deploy": ("since the pre-deploy run", "배포 전 실행 대비"),
    "new": ("new", "새로 생김"),
    "still": ("still", "계속"),
    "fixed": ("fixed", "해결됨"),
    # what was left out, and where all of it is
    "and more": ("and {n} more", "외 {n}건"),
    "left out": ("{n} more left out here; all of it is in {file}", "{n}건 생략: 전체는 {file}에 있음"),
    "report": ("report", "보고서"),
    "manifest": ("commits", "커밋"),
    "repository": ("repository", "리포지토리"),
    "commit": ("commit", "커밋"),
    "requests": ("requests", "요청 수"),
    # the run's progress
    "awaiting": ("awaiting {names}: {seconds} s", "{names} 대기 중: {seconds}초"),
    "error": ("ERROR", "오류"),
    "not asked": ("Nothing else was asked.", "그 밖에는 아무것도 요청하지 않았습니다."),
    "unwritten": ("{file} could not be written: {why}", "{file}을(를) 쓰지 못했습니다: {why}"),
    # notifications
    "not told": ("not notified through {name}: {why}", "{name}(으)로 알리지 못함: {why}"),
    "unset": ("the environment variable is not set", "환경 변수가 설정되지 않음"),
    "no answer": ("no whole answer within {s:.0f} s", "{s:.0f}초 안에 응답이 끝나지 않음"),
    "too many": ("{n} messages in the last hour", "최근 1시간 동안 메시지 {n}건"),
    "refused": ("apprise does not know such a URL, or could not deliver", "apprise가 모르는 URL이거나 전송하지 못함"),
    "recovered": ("RECOVERED", "복구됨"),
    "recovered after": ("green again; before it: {roots}", "다시 정상입니다. 이전 원인: {roots}"),
    "deployed": ("DEPLOYED", "배포됨"),
    # the page
    "all runs": ("all runs", "모든 실행"),
    "skip": ("skip to the content", "본문으로 건너뛰기"),
    "sections": ("sections", "목차"),
    "lead go": ("Every check that holds the verdict is green.", "판정에 필요한 모든 검사가 정상입니다."),
    "lead roots": (
        "Not green: {red} of {all} checks. Root causes: {n}.",
        "검사 {all}건 중 {red}건이 통과하지 못했습니다. 근본 원인 {n}건.",
    ),
    "expired": ("This verdict has expired: verify again.", "이 판정은 유효 기한이 지났습니다. 다시 점검하세요."),
    "no script": (
        "Without JavaScript there are no facts, no search and no filter here; facts.jsonl has the facts.",
        "JavaScript가 없으면 근거 사실, 검색, 필터가 나오지 않습니다. 사실은 facts.jsonl에 있습니다.",
    ),
    "topology": ("topology", "구성도"),
    "topology says": ("Choose a part to see its checks.", "부분을 고르면 그 부분의 검사만 보입니다."),
    "not judged": ("not judged", "판정하지 않음"),
    "tier zone": ("DNS", "DNS"),
    "tier host": ("hosts and TLS", "호스트와 TLS"),
    "tier edge": ("edge", "엣지"),
    "tier service": ("services and content", "서비스와 콘텐츠"),
    "tier data": ("data", "데이터"),
    "tier around": ("around them", "주변"),
    "node zone": ("DNS zone", "DNS 영역"),
    "node host": ("host", "호스트"),
    "node balancer": ("load balancer", "로드 밸런서"),
    "node cdn": ("CDN", "CDN"),
    "node service": ("service", "서비스"),
    "node frontend": ("frontend", "프론트엔드"),
    "node bucket": ("bucket", "버킷"),
    "node database": ("database", "데이터베이스"),
    "node cache": ("cache", "캐시"),
    "node broker": ("message broker", "메시지 브로커"),
    "node target": ("settings, account", "설정과 계정"),
    "node secrets": ("secrets", "시크릿"),
    "node registry": ("image registry", "이미지 레지스트리"),
    "node release": ("repositories", "리포지토리"),
    "node pipelines": ("pipelines", "파이프라인"),
    "node logs": ("logs", "로그"),
    "node alarms": ("metrics and alarms", "지표와 알람"),
    "node parity": ("parity", "환경 간 일치"),
    "node other": ("other checks", "그 밖의 검사"),
    "search": ("search checks", "검사 검색"),
    "filter": ("filter by outcome", "결과로 거르기"),
    "shown": ("{n} of {all} checks", "검사 {all}건 중 {n}건"),
    "only part": ("only {name}", "{name}만"),
    "clear": ("show all", "모두 보기"),
    "no match": ("no check matches", "맞는 검사가 없습니다"),
    "proves": ("proves", "증명하는 것"),
    "holds the verdict": ("holds the verdict", "판정을 막음"),
    "tries": ("{n} attempts", "시도 {n}번"),
    "not recorded": ("not recorded in this run", "이 실행에 기록되지 않음"),
    "pages": ("pages in a browser", "브라우저로 연 페이지"),
    "pages says": (
        "What a visitor without a login sees. Nothing was sent that could change something.",
        "로그인하지 않은 방문자가 보는 화면입니다. 무언가를 바꿀 수 있는 요청은 보내지 않았습니다.",
    ),
    "waterfall": ("waterfall", "관측 시간"),
    "waterfall says": (
        "A bar begins where its observation began: its phases in their order, then the rest, which is waiting.",
        "막대는 관측이 시작된 시점에서 시작합니다. 단계가 순서대로 먼저 오고, 나머지는 기다린 시간입니다.",
    ),
    "slowest": ("slowest", "가장 느린 관측"),
    "all observations": ("show all {n} observations", "관측 {n}건 모두 보기"),
    "phase resolve": ("resolve", "이름 확인"),
    "phase connect": ("connect", "연결"),
    "phase tls": ("TLS", "TLS"),
    "phase handshake": ("handshake", "핸드셰이크"),
    "phase first_byte": ("first byte", "첫 바이트"),
    "phase query": ("query", "질의"),
    "phase body": ("body", "본문"),
    "phase other": ("other phases", "다른 단계"),
    "phase rest": ("rest", "나머지"),
    "manifest says": ("the commits that were judged", "판정한 커밋"),
    "branch": ("branch", "브랜치"),
    "tree": ("tree", "트리"),
    "about": ("about the run", "실행 정보"),
    "says it runs": ("{name} says it runs", "{name}이(가) 실행 중이라고 답한 커밋"),
    "different commits": ("different commits", "서로 다른 커밋"),
    "catalogue": ("catalogue", "카탈로그"),
    # the index of runs
    "verdict": ("verdict", "판정"),
    "index says": ("The last {n} runs of each environment.", "환경마다 최근 {n}번의 실행입니다."),
    "no runs": ("No run has been recorded yet.", "아직 기록된 실행이 없습니다."),
    "unreadable": ("unreadable", "읽을 수 없음"),
    "newest run": ("newest run", "최근 실행"),
    "durations say": (
        "newest {newest}, median {usual}, longest {longest}",
        "최근 {newest}, 중앙값 {usual}, 최장 {longest}",
    ),
    "reds say": ("{go} of {all} runs were GO", "실행 {all}번 중 {go}번 GO"),
    "median": ("medians of these runs", "이 실행들의 중앙값"),
    "no facts": ("No facts were recorded.", "기록된 사실이 없습니다."),
    "flaky": ("flaky checks", "불안정한 검사"),
    "none flaky": ("none", "없음"),
    "changes": ("changed {n} times", "{n}번 바뀜"),
    "retried": ("retried in {n} runs", "{n}번의 실행에서 재시도"),
    "flaky says": (
        "Changed between green and red while the commits did not, or passed on a later attempt.",
        "커밋은 그대로인데 결과가 바뀌었거나 다시 시도해서 통과한 검사입니다.",
    ),
    "older": ("{n} older runs", "이전 실행 {n}번"),
}
# fmt: on


class Words(dict[str, str]):
    """The fixed words of a language."""

    language: str


@cache
def of(language: str) -> Words:
    """Every fixed word in the language; English where it is not one of `LANGUAGES`."""
    at = 1 if language == "ko" else 0
    words = Words((key, pair[at]) for key, pair in _WORDS.items())
    words.language = language
    return words


def chosen(language: str | None) -> str:
    """The language of a run: what `--lang` says, else Korean where `LANG` does, else English."""
    return language or ("ko" if os.environ.get("LANG", "").startswith("ko") else "en")
