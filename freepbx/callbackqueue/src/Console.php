<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

/** Reads the state of the service from the API of its web process. */
class Console
{
	private const TIMEOUT_S = 2;
	private const ROWS = 20;
	private const LARGEST_BYTES = 1000000;

	private string $address;
	private string $token;

	public function __construct(string $address, string $token)
	{
		$this->address = $address;
		$this->token = $token;
	}

	/**
	 * Returns what the page shows.
	 *
	 * @return array{problem: string, queues: array, tasks: array, blocked: ?array}
	 *     `problem` is empty if all is well; `blocked` is null if the token may not see
	 *     numbers.
	 */
	public function state(): array
	{
		$nothing = ['queues' => [], 'tasks' => [], 'blocked' => null];
		if ($this->address === '' || $this->token === '') {
			return ['problem' => _('Enter the address of the console and a token to see the state here.')] + $nothing;
		}
		try {
			return [
				'problem' => '',
				'queues' => $this->items('/queues'),
				'tasks' => $this->items('/tasks?open=true&limit=' . self::ROWS),
				'blocked' => $this->items('/numbers/blocked?limit=' . self::ROWS, [403]),
			];
		} catch (Unusable $unusable) {
			return ['problem' => $unusable->getMessage()] + $nothing;
		}
	}

	/**
	 * @param int[] $without statuses for which there is no answer
	 * @return ?array the items of a list
	 */
	private function items(string $path, array $without = []): ?array
	{
		$context = stream_context_create(['http' => [
			'header' => "Authorization: Bearer $this->token\r\nAccept: application/json",
			'timeout' => self::TIMEOUT_S,
			'ignore_errors' => true,
			'follow_location' => 0,
		]]);
		$body = @file_get_contents("$this->address/api/v1$path", false, $context, 0, self::LARGEST_BYTES);
		if ($body === false) {
			error_clear_last();
			throw new Unusable([sprintf(_('%s does not answer: is callback-queue web running?'), $this->address)]);
		}
		preg_match('~^HTTP/\S+ ([0-9]+)~', $http_response_header[0] ?? '', $found);
		$status = (int) ($found[1] ?? 0);
		if (in_array($status, $without, true)) {
			return null;
		}
		$answer = json_decode($body, true);
		if ($status === 200 && is_array($answer) && is_array($answer['items'] ?? null)) {
			return $answer['items'];
		}
		$said = is_array($answer) ? (string) ($answer['detail'] ?? $answer['title'] ?? '') : '';
		throw new Unusable([match ($status) {
			401 => _('the token is not valid: make one with callback-queue web token add freepbx --scope tasks:read --scope numbers:read'),
			403 => _('the token needs the right tasks:read'),
			default => sprintf(_('the console answered %d: %s'), $status, $said),
		}]);
	}
}
