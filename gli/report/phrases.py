"""The Korean of every phrase that the suite says: template to template, with the same values.

`tests/test_korean.py` fails where a phrase of a check, a probe or the judge is not here.
"""

from __future__ import annotations

from collections.abc import Mapping

# fmt: off
KOREAN: Mapping[str, str] = {
    # sentences around others
    "expected {}, saw {}": "기대: {}, 관측: {}",
    "{} and {} more": "{} 외 {}건",
    "nothing": "없음",
    # reasons of a verdict
    "incomplete: {}": "미완료: {}",
    "the run has not ended": "실행이 끝나지 않음",
    "interrupted": "중단됨",
    "the suite itself failed (INTERNALERROR above)": "점검 도구 자체의 오류(위의 INTERNALERROR)",
    "pytest was called in a way it does not know": "pytest가 모르는 방식으로 호출됨",
    "{} could not be collected: {}": "{}을(를) 수집하지 못함: {}",
    "partial: {}": "부분 실행: {}",
    "{} of {} cases were selected": "{1}건 중 {0}건만 선택됨",
    "{} of {} cases did not report: {}": "{1}건 중 {0}건이 보고하지 않음: {2}",
    "{} failed: {}": "{} 실패: {}",
    "{} unknown: {}": "{} 확인 불가: {}",
    "{} blocked by root causes: {}": "근본 원인에 막힌 검사 {}건: {}",
    "the waiver of {} is no longer needed: it is {}; take it out":
        "{}의 예외 승인이 더는 필요 없음({}): 항목을 지우세요",
    "passed": "통과",
    "not-applicable": "해당 없음",
    "nothing to judge: the environment has no target for any check of this phase":
        "판정할 것이 없음: 이 환경에는 이 단계의 검사 대상이 없음",
    "the manifest is incomplete: {} could not be read":
        "매니페스트가 불완전함: {}을(를) 읽지 못함",
    # what a case reports without an assertion
    "it did not report: it was not run, or its report was lost": "보고하지 않음: 실행되지 않았거나 보고가 사라짐",
    "{} (cause unknown: {} could not be observed)": "{} (원인 확인 불가: {}을(를) 관측하지 못함)",
    "not asked: the identity of the run is not confirmed": "요청하지 않음: 이 실행의 신원이 확인되지 않음",
    "passed on attempt {}": "{}번째 시도에서 통과",
    "the check failed without a word": "검사가 아무 설명 없이 실패함",
    "skipped: {}; a check may not skip itself": "건너뜀: {}. 검사는 스스로 건너뛸 수 없음",
    "the check itself failed: {}: {}": "검사 자체의 오류: {}: {}",
    "python -O takes assertions out: no check could fail; run without -O and PYTHONOPTIMIZE":
        "python -O는 단언을 없애므로 어떤 검사도 실패할 수 없음: -O와 PYTHONOPTIMIZE 없이 실행하세요",
    "only a runner inside the VPC sees it: run with --vantage=vpc from there":
        "VPC 안의 실행 위치에서만 보임: 그 안에서 --vantage=vpc로 실행하세요",
}
# fmt: on
