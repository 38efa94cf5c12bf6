<?php
// SPDX-License-Identifier: MIT

/**
 * Carries out steps on the module in the modelled FreePBX.
 *
 * Reads a JSON object from its standard input: `module` (the directory), `steps`, and what
 * World::$given needs. Writes `answers` (one for each step), `store`, `notifications` and
 * `needs_reload` as JSON. Every notice of PHP is an error.
 */

set_error_handler(function ($level, $message, $file, $line) {
	// With @ only what cannot be silenced arrives here.
	if (error_reporting() & $level) {
		throw new ErrorException($message, 0, $level, $file, $line);
	}
	return false;
});

foreach (['framework', 'queues', 'core', 'backup'] as $name) {
	require __DIR__ . "/$name.php";
}
World::$given = json_decode(stream_get_contents(STDIN), true, 64, JSON_THROW_ON_ERROR);
World::$store = World::$given['store'];
World::$notifications = World::$given['notifications'];
$directory = World::$given['module'];
require "$directory/Callbackqueue.class.php";
$freepbx = FreePBX::create();
$module = $freepbx->Callbackqueue;

/** Apply Config: the hooks of all modules by priority, then the files. */
function apply(FreePBX $freepbx): array
{
	global $ext;
	$ext = new extensions();
	$module = $freepbx->Callbackqueue;
	$hooks = [
		[100, fn () => queues_get_config('asterisk')],
		[480, fn () => core_do_get_config('asterisk')],
		// FreePBX calls it both ways.
		[$module::myDialplanHooks(), fn () => $module->doDialplanHook($ext, 'asterisk', $module->myDialplanHooks())],
	];
	usort($hooks, fn ($one, $other) => $one[0] <=> $other[0]);
	foreach ($hooks as [, $hook]) {
		$hook();
	}
	$module->writeConfig($module->genConfig());
	return [
		'extensions' => $ext->generateConf(),
		'queues' => queues_conf::create()->generateConf('queues_additional.conf'),
	];
}

/** A page is requested: first its own module, then those that follow it. */
function request(FreePBX $freepbx, array $fields): void
{
	$_REQUEST = $fields;
	$module = $freepbx->Callbackqueue;
	$page = $fields['display'];
	if ($page === 'callbackqueue' || in_array($page, $module->myConfigPageInits(), true)) {
		$module->doConfigPageInit($page);
	}
}

$answers = [];
foreach (World::$given['steps'] as $step) {
	[$name, $argument] = [$step[0], $step[1] ?? null];
	$answers[] = match ($name) {
		'install' => $module->install(),
		'uninstall' => $module->uninstall(),
		'request' => request($freepbx, $argument),
		'tab' => (function () use ($freepbx, $argument) {
			$_REQUEST['extdisplay'] = $argument;
			return $freepbx->Queues->hookTabs();
		})(),
		'page' => (function () use ($directory) {
			ob_start();
			include "$directory/page.callbackqueue.php";
			return ob_get_clean();
		})(),
		'apply' => apply($freepbx),
		'backup' => (function () use ($freepbx, $directory) {
			require_once "$directory/Backup.php";
			$backup = new FreePBX\modules\Callbackqueue\Backup($freepbx, '17.0', null, '2', [], false);
			$backup->runBackup('1', '2');
			return ['configs' => $backup->configs, 'dependencies' => $backup->dependencies];
		})(),
		'restore' => (function () use ($freepbx, $directory, $argument) {
			require_once "$directory/Restore.php";
			(new FreePBX\modules\Callbackqueue\Restore($freepbx, '17.0', null, '2', $argument, '/tmp', false))->runRestore();
		})(),
	};
}
echo json_encode([
	'answers' => $answers,
	'store' => World::$store,
	'notifications' => World::$notifications,
	'needs_reload' => World::$needsReload,
], JSON_THROW_ON_ERROR);
